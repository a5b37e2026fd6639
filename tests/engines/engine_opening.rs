//! Opening a driver ends: at its timeout, however far it got before the engine stopped answering,
//! and with a refusal where the cluster has no such datacentre.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::engines::{Engine, block_on};
use libtest_mimic::Failed;
use seriatim::driver::DriverError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TIMEOUT: Duration = Duration::from_millis(800);

/// Forwards so many pieces of what clients send, on all connections together, and nothing after.
async fn stalling(target: SocketAddr, pieces: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let left = Arc::new(AtomicUsize::new(pieces));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let engine = TcpStream::connect(target).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_engine, mut to_engine) = engine.into_split();
            let left = left.clone();
            tokio::spawn(async move {
                let mut piece = vec![0; 64 << 10];
                while let Ok(read @ 1..) = from_client.read(&mut piece).await {
                    let taken = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                        left.checked_sub(1)
                    });
                    if taken.is_err() {
                        std::future::pending::<()>().await;
                    }
                    to_engine.write_all(&piece[..read]).await.unwrap();
                }
            });
            tokio::spawn(async move { tokio::io::copy(&mut from_engine, &mut to_client).await });
        }
    });
    address
}

pub fn an_opening_that_stalls_ends_at_its_timeout(engine: Engine) -> Result<(), Failed> {
    block_on(async {
        let direct = engine.fresh_url();
        let made = seriatim::driver::open(&direct).await.unwrap();
        made.close().await.unwrap();
        let mut opened = false;
        for pieces in 0..60 {
            let proxy = stalling(engine.address(), pieces).await;
            let url = engine.through(&direct, proxy) + "&timeout_ms=800";
            let began = Instant::now();
            let opening =
                tokio::time::timeout(Duration::from_secs(15), seriatim::driver::open(&url));
            match opening.await {
                Err(_elapsed) => return Err(format!("{pieces} pieces: it hangs").into()),
                Ok(Err(error)) => {
                    let unavailable = matches!(error, DriverError::Unavailable { .. });
                    assert!(unavailable, "{pieces} pieces: {error:?}");
                    // Each step of an opening may be given the whole time, where the steps are few.
                    assert!(began.elapsed() < 4 * TIMEOUT, "{pieces}: {:?}", began.elapsed());
                }
                Ok(Ok(driver)) => {
                    opened = true;
                    driver.close().await.unwrap();
                    break;
                }
            }
        }
        assert!(opened, "so many pieces should do");
        Ok(())
    })
}

/// Only Cassandra knows the name of its datacentre.
pub fn a_datacentre_that_is_not_there_is_refused(engine: Engine) -> Result<(), Failed> {
    if engine.name != "cassandra" {
        let url = engine.fresh_url() + "&datacenter=datacenter1";
        let refused = block_on(seriatim::driver::open(&url)).err().unwrap();
        assert!(matches!(refused, DriverError::Failed { .. }), "{refused:?}");
        return Ok(());
    }
    block_on(async {
        let url = engine.fresh_url();
        for serial in ["global", "local"] {
            let wrong = format!("{url}&serial={serial}&datacenter=nowhere");
            let error = seriatim::driver::open(&wrong).await.err().unwrap();
            assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("datacenter1") && !text.contains("nowhere"), "{text}");
            let right = format!("{url}&serial={serial}&datacenter=datacenter1");
            seriatim::driver::open(&right).await.unwrap().close().await.unwrap();
        }
        Ok(())
    })
}

//! The proxy that the engines' tests put faults on the wire with: each fault does what its name
//! says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::proxy::{Fault, Faults, Proxy};
use crate::support::{chance, until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An engine that answers every byte with itself, and counts them.
async fn echo() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heard) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counting = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let heard = counting.clone();
            tokio::spawn(async move {
                while let Ok(byte) = client.read_u8().await {
                    heard.fetch_add(1, Ordering::SeqCst);
                    let _ = client.write_u8(byte).await;
                }
            });
        }
    });
    (address, heard)
}

async fn always(fault: Fault) -> (Proxy, Arc<AtomicU64>) {
    let (engine, heard) = echo().await;
    let proxy = Proxy::start(engine, chance());
    proxy.set(Faults { of_requests: vec![(fault, 1_000)], drop_every: 0 });
    (proxy, heard)
}

#[tokio::test]
async fn round_trips_are_counted() {
    let (engine, _) = echo().await;
    let proxy = Proxy::start(engine, chance());
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.push(TcpStream::connect(proxy.address()).await.unwrap());
    }
    for byte in 0..10 {
        for line in &mut lines {
            line.write_u8(byte).await.unwrap();
            assert_eq!(within("an answer", line.read_u8()).await.unwrap(), byte);
        }
    }
    assert_eq!((proxy.round_trips(), proxy.struck()), (30, 0));
}

#[tokio::test]
async fn a_cut_request_is_delivered_and_not_answered() {
    let (proxy, heard) = always(Fault::CutAfterRequest).await;
    let mut line = TcpStream::connect(proxy.address()).await.unwrap();
    line.write_u8(7).await.unwrap();
    assert!(within("the end", line.read_u8()).await.is_err());
    until("it is delivered", || heard.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_late_request_is_delivered_though_the_client_is_gone() {
    let (proxy, heard) = always(Fault::DeliverLate(Duration::from_millis(300))).await;
    let mut line = TcpStream::connect(proxy.address()).await.unwrap();
    line.write_u8(7).await.unwrap();
    drop(line);
    assert_eq!(heard.load(Ordering::SeqCst), 0);
    until("it is delivered", || heard.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn answers_are_delayed_and_pauses_hold_everybody() {
    for fault in
        [Fault::DelayAnswer(Duration::from_millis(200)), Fault::Pause(Duration::from_millis(200))]
    {
        let (proxy, _) = always(fault).await;
        let mut line = TcpStream::connect(proxy.address()).await.unwrap();
        let began = Instant::now();
        line.write_u8(7).await.unwrap();
        assert_eq!(within("an answer", line.read_u8()).await.unwrap(), 7);
        assert!(began.elapsed() >= Duration::from_millis(200), "{fault:?}");
    }
}

#[tokio::test]
async fn every_third_connection_is_dropped() {
    let (engine, _) = echo().await;
    let proxy = Proxy::start(engine, chance());
    proxy.set(Faults { of_requests: Vec::new(), drop_every: 3 });
    let mut served = Vec::new();
    for _ in 0..6 {
        let mut line = TcpStream::connect(proxy.address()).await.unwrap();
        let _ = line.write_u8(7).await;
        served.push(within("an answer or the end", line.read_u8()).await.is_ok());
    }
    assert_eq!(served, [true, true, false, true, true, false]);
}

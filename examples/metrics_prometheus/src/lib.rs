//! A store under load, and its figures as Prometheus reads them.
//!
//! ```text
//! load ─▶ EventStore ── once a second ─▶ facade `metrics` ─▶ PrometheusRecorder ─▶ GET /metrics
//! ```

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};
use seriatim::subscription::OnFailure;
use seriatim::{Append, AppendError, EventStore, NewEvent};

const WRITERS: u64 = 16;
const ACCOUNTS: u64 = 200;

/// The upper bounds of durations, in seconds: from a flush of a fast disk to a lost engine.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0,
];
/// The upper bounds of what shares a put or a flush.
const SIZES: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 4_096.0];

/// Serves `GET /metrics` there. Call it before the first store is opened, inside a tokio runtime.
///
/// # Errors
///
/// The address is taken, or another recorder is installed.
pub fn serve_metrics(address: SocketAddr) -> Result<(), BuildError> {
    PrometheusBuilder::new()
        .with_http_listener(address)
        // Without buckets the exporter makes summaries, which cannot be added up over processes.
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets(SIZES)?
        .install()
}

/// Appends, conflicts, and a consumer that is behind now and then, until `stop` is set.
///
/// # Errors
///
/// An append failed for another reason than a conflict, or the consumer did.
pub async fn load(store: &EventStore, stop: Arc<AtomicBool>) -> Result<(), Box<dyn Error>> {
    let pause = Duration::from_millis(10);
    let counting = store
        .consumer("balances")
        .category("account")
        .retry(1, pause, pause)
        .on_failure(OnFailure::Park)
        .run(|event| async move {
            // A handler with a fault: one kind of event is more than it can take.
            match event.event_type() {
                "Audited" => Err("audits are not understood"),
                _ => Ok(()),
            }
        });
    let handle = counting.handle();
    let counting = tokio::spawn(counting);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(store.clone(), writer, stop.clone())))
        .collect();
    for writer in writers {
        writer.await??;
    }
    handle.stop();
    counting.await??;
    Ok(())
}

/// Each writer appends to the accounts in turn. Every fourth append expects what an earlier read
/// saw, so some are stale.
async fn write(store: EventStore, writer: u64, stop: Arc<AtomicBool>) -> Result<(), AppendError> {
    let mut turn = writer;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let account = turn * 7 % ACCOUNTS;
        let kind = if turn.is_multiple_of(5_000) { "Audited" } else { "Deposited" };
        let event = NewEvent::raw(kind, format!("{{\"amount\":{turn}}}"));
        let append = Append::to(format!("account/{account}")).event(event);
        let append = if turn.is_multiple_of(4) { append.expect(turn / ACCOUNTS) } else { append };
        match store.append(append).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        if turn.is_multiple_of(64) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

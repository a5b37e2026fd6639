//! A backup under 64 writers is a dense prefix: what was answered before it began is in it, at the
//! position that was answered, and no append is torn.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use seriatim::{Append, EventStore};

use super::backups_come_back_the_same::restored;
use crate::support::logged::on_each;
use crate::support::{event, until, within};

const WRITERS: u64 = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dense_prefix_with_all_that_was_answered() {
    on_each(|store| async move {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let witness = Arc::new(Mutex::new(Vec::new()));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (store, stop) = (store.clone(), stop.clone());
                let (witness, answers) = (witness.clone(), answers.clone());
                tokio::spawn(write(store, writer, stop, witness, answers))
            })
            .collect();
        let folder = tempfile::tempdir().unwrap();
        for round in 1..=5 {
            let wanted = answers.load(Ordering::Relaxed) + 500;
            until("appends", || answers.load(Ordering::Relaxed) >= wanted).await;
            let answered = witness.lock().unwrap().clone();
            let backup = store.backup(folder.path()).file_bytes(20_000);
            let done = within("a backup", async { backup.await }).await.unwrap();
            let events = restored(folder.path()).await;
            assert_eq!(events.len() as u64, done.contents.last.get());
            assert!(events.iter().zip(1..).all(|(event, n)| event.position.unwrap() == n));
            for (key, commit_id, position) in answered {
                let append = events.get(position - 1..position + 1).expect("answered and missing");
                for event in append {
                    assert_eq!((event.key.as_str(), event.commit_id), (&*key, commit_id));
                }
            }
            let whole = events.chunk_by(|a, b| a.commit_id == b.commit_id).all(|a| a.len() == 2);
            assert!(whole, "an append is torn");
            println!("round {round}: {done:?}");
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            within("the writers' end", writer).await.unwrap();
        }
    })
    .await;
}

type Witness = Arc<Mutex<Vec<(String, uuid::Uuid, usize)>>>;

/// Appends of two events.
async fn write(
    store: EventStore,
    writer: u64,
    stop: Arc<AtomicBool>,
    witness: Witness,
    answers: Arc<AtomicU64>,
) {
    while !stop.load(Ordering::Relaxed) {
        let key = format!("account/{}", writer % 48);
        let append = Append::to(&*key).events([event(1), event(2)]);
        let appended = store.append(append).await.unwrap();
        let position = appended.position.unwrap().get() as usize;
        witness.lock().unwrap().push((key, appended.commit_id, position));
        answers.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

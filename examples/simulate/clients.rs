//! One life of a store: what its clients do until it ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use seriatim::driver::redb::RedbDriver;
use seriatim::{Append, AppendError, EventStore, Expected, NewEvent};

use crate::sim_disk::{Random, SimDisk};
use crate::witness::client::{CONSUMER, Say, look, send, something};
use crate::witness::{Fault, Line, Sent, Witness};

/// How a life ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    Close,
    /// At any moment, with calls under way.
    Kill,
    PowerLoss,
    /// At the write or flush with this number.
    PowerLossAt(u64),
    /// One flush of a file whose name begins so fails.
    FailedFlush(&'static str),
    /// A kill while nothing is under way.
    Idle,
}

impl Ending {
    pub(crate) fn any(random: &mut fastrand::Rng) -> Self {
        match random.u8(..6) {
            0 => Ending::Close,
            1 => Ending::Kill,
            2 => Ending::PowerLoss,
            3 => Ending::FailedFlush(if random.bool() { "journal/" } else { "events.redb" }),
            4 => Ending::PowerLossAt(random.u64(1..40)),
            _ => Ending::PowerLossAt(random.u64(1..600)),
        }
    }

    pub(crate) fn number(self) -> usize {
        match self {
            Ending::Close => 0,
            Ending::Kill | Ending::Idle => 1,
            Ending::PowerLoss | Ending::PowerLossAt(_) => 2,
            Ending::FailedFlush(_) => 3,
        }
    }
}

/// What the clients share: the witness, and what it could not believe.
#[derive(Default)]
struct Told {
    witness: Witness,
    fault: Option<Fault>,
}

#[derive(Clone, Default)]
struct Ears(Arc<Mutex<Told>>);

impl Ears {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self) -> Say {
        let ears = self.clone();
        Arc::new(move |line| {
            let mut told = ears.lock();
            // The same way as through a pipe.
            let noted = line.to_string().parse().and_then(|line| told.witness.note(line));
            if let Err(fault) = noted {
                told.fault.get_or_insert(fault);
            }
            Ok(())
        })
    }
}

struct Life<'a> {
    store: EventStore,
    disk: &'a SimDisk,
    ending: Ending,
    ears: Ears,
    say: Say,
    /// The latest sequence of the aggregate that only exact appends go to.
    own: Option<u64>,
}

const OWN: &str = "own/1";

/// Lives, and answers the disk as the next life finds it, what is known then, and the last position
/// that was answered before the last batch in which something was.
pub(crate) async fn live(
    driver: RedbDriver,
    disk: &SimDisk,
    ending: Ending,
    random: &mut fastrand::Rng,
    mut witness: Witness,
) -> Result<(SimDisk, Witness, u64), Fault> {
    witness.begin_life();
    let builder = EventStore::builder().driver(Arc::new(driver)).arbiters(1).max_resident(3);
    let store = builder.put_deadline(Duration::from_secs(5)).open().await?;
    let ears = Ears::default();
    let pending: Vec<Sent> =
        witness.pending.iter().filter_map(|id| witness.sent.get(id)).cloned().collect();
    ears.lock().witness = witness;
    let say = ears.say();
    let mut life = Life { store, disk, ending, ears, say, own: None };
    match ending {
        Ending::PowerLossAt(operation) => disk.fail_power_after(operation),
        Ending::FailedFlush(name) => disk.fail_next_sync(name),
        _ => {}
    }
    let watching = life.watch(random).await?;
    for sent in pending {
        let answer = send(&life.store, &life.say, sent, Expected::Any).await;
        life.judge(answer.map(drop))?;
    }
    let batches = random.u64(1..30);
    let mut settled = 0;
    for _ in 0..batches {
        let before = life.answered();
        life.batch(random).await?;
        if life.answered() > before {
            settled = before;
        }
        if life.is_hurt() {
            break;
        }
        life.stale_append().await?;
    }
    let left = life.end(random).await?;
    for task in watching {
        task.abort();
    }
    let mut witness = left.1;
    witness.end_life();
    Ok((left.0, witness, settled))
}

impl Life<'_> {
    /// Whether calls may fail from now on.
    fn is_hurt(&self) -> bool {
        match self.ending {
            Ending::FailedFlush(_) => !self.disk.awaits_sync() || self.disk.has_failed(),
            _ => self.disk.has_failed(),
        }
    }

    /// A call may fail after the disk has; and nothing that the witness heard may be false.
    fn judge(&self, answer: Result<(), Fault>) -> Result<(), Fault> {
        if let Some(fault) = self.ears.lock().fault.take() {
            return Err(fault);
        }
        match answer {
            Err(error) if !self.is_hurt() => Err(format!("a call failed: {error}").into()),
            _ => Ok(()),
        }
    }

    fn answered(&self) -> u64 {
        let told = self.ears.lock();
        let ends =
            told.witness.answered.values().map(|done| done.position + done.last - done.first);
        ends.max().unwrap_or(0)
    }

    /// A consumer, and a subscriber from a position of chance on.
    async fn watch(
        &self,
        random: &mut fastrand::Rng,
    ) -> Result<Vec<tokio::task::JoinHandle<()>>, Fault> {
        let consumer = self.store.consumer(CONSUMER).checkpoint_every(random.usize(1..40));
        let consumer = consumer.checkpoint_interval(Duration::from_millis(5));
        let known = match consumer.position().await {
            Ok(known) => known.map_or(0, |position| position.get()),
            Err(error) => return self.judge(Err(error.into())).map(|()| Vec::new()),
        };
        (self.say)(&Line::From(known))?;
        let say = self.say.clone();
        let run = consumer.run(move |event| {
            let position = event.position.unwrap_or_default().get();
            std::future::ready(say(&Line::Handled(position)))
        });
        let first = random.u64(1..20);
        let (mut next, say) = (first, self.say.clone());
        let mut subscription = self.store.subscribe().from(first);
        let ears = self.ears.clone();
        let subscribing = async move {
            while let Some(Ok(event)) = subscription.next().await {
                let position = event.position.unwrap_or_default().get();
                if position != next {
                    let fault = format!("the subscriber got position {position}, not {next}");
                    ears.lock().fault.get_or_insert(fault.into());
                }
                next = position + 1;
                let (key, sequence) = (event.key.as_str().to_owned(), event.sequence.get());
                let _ = say(&Line::Saw { key, sequence, commit_id: event.commit_id });
            }
        };
        Ok(vec![tokio::spawn(async move { drop(run.await) }), tokio::spawn(subscribing)])
    }

    /// Calls that are under way together.
    fn calls(&self, random: &mut fastrand::Rng) -> Vec<tokio::task::JoinHandle<Result<(), Fault>>> {
        let mut calls = Vec::new();
        for _ in 0..random.usize(1..7) {
            let (store, say) = (self.store.clone(), self.say.clone());
            let key = match random.u8(..5) {
                0 | 1 => format!("shared/{}", random.u8(..3)),
                2 | 3 => format!("tally/{}", random.u8(..2)),
                _ => format!("rare/{}", random.u8(..60)),
            };
            if random.u8(..4) == 0 {
                calls.push(tokio::spawn(async move { look(&store, &say, key).await }));
                continue;
            }
            let sent = something(key, random);
            calls.push(tokio::spawn(async move {
                send(&store, &say, sent, Expected::Any).await.map(drop)
            }));
        }
        calls
    }

    async fn batch(&mut self, random: &mut fastrand::Rng) -> Result<(), Fault> {
        let calls = self.calls(random);
        if random.bool() {
            let latest = match self.own {
                Some(latest) => latest,
                None => match self.store.latest_sequence(OWN).await {
                    Ok(latest) => latest.get(),
                    Err(error) => return self.judge(Err(error.into())),
                },
            };
            let sent = something(OWN.to_owned(), random);
            let sent = send(&self.store, &self.say, sent, Expected::from(latest)).await;
            self.own = sent.as_ref().ok().map(|appended| appended.last.get());
            if self.own.is_some_and(|last| last <= latest) {
                return Err("an exact append stands elsewhere".into());
            }
            self.judge(sent.map(drop))?;
        }
        for answer in join_all(calls).await {
            self.judge(answer?)?;
        }
        Ok(())
    }

    /// An append that expects what is not so any more is refused, and told what is.
    async fn stale_append(&self) -> Result<(), Fault> {
        let Some(latest) = self.own else { return Ok(()) };
        let append = Append::to(OWN).expect(Expected::from(latest - 1));
        match self.store.append(append.event(NewEvent::raw("Stale", "{}"))).await {
            Err(AppendError::Conflict { actual, .. }) if actual == latest => Ok(()),
            Err(AppendError::Conflict { .. }) | Ok(_) => Err("a stale append is taken".into()),
            Err(_) if self.is_hurt() => Ok(()),
            other => Err(format!("a stale append after {latest}: {other:?}").into()),
        }
    }

    async fn end(self, random: &mut fastrand::Rng) -> Result<(SimDisk, Witness), Fault> {
        let mut chance = Random::new(random.u64(..));
        let mut under_way = Vec::new();
        if matches!(self.ending, Ending::Kill | Ending::PowerLoss) {
            under_way = self.calls(random);
            for _ in 0..random.u8(..30) {
                tokio::task::yield_now().await;
            }
            if random.bool() {
                tokio::time::sleep(Duration::from_micros(random.u64(..2_000))).await;
            }
        }
        if matches!(self.ending, Ending::Close) || self.is_hurt() && random.bool() {
            let hurt = self.is_hurt();
            let closed = self.store.close().await;
            if let (Err(error), false) = (&closed, hurt) {
                return Err(format!("closing failed: {error}").into());
            }
            // What its consumer handled is saved, unless the disk has failed.
            self.ears.lock().witness.closed = closed.is_ok() && !hurt;
        }
        self.judge(Ok(()))?;
        // Under the lock: whoever was answered by now has told it, and whoever has not told it is not
        // answered.
        let (left, witness) = {
            let told = self.ears.lock();
            let left = match self.ending {
                Ending::Kill | Ending::Idle => self.disk.after_kill(),
                Ending::Close | Ending::FailedFlush(_) if random.bool() => self.disk.after_kill(),
                _ => self.disk.after_power_loss(&mut chance),
            };
            (left, told.witness.clone())
        };
        // What is left of this life finds no disk.
        self.disk.fail_power_after(0);
        for call in under_way {
            call.abort();
        }
        let _ = self.store.close().await;
        Ok((left, witness))
    }
}

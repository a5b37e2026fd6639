//! An entity's resident state equals the state folded from what is stored, field by field: in
//! random histories of commands, raw appends, failed puts, another store's writes, passivations,
//! snapshots, and reopenings with other upcasters. The upcasters look at all that an event has.
//!
//! The stored events are read from the driver itself, and the model reads each in its latest form
//! by a function of its own. Each event that a command writes carries a digest of the state that it
//! was decided on, so the states inside a put are compared too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use seriatim::driver::faults::{FaultyDriver, PutFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{Driver, DriverError, Fetch};
use seriatim::testing::ManualClock;
use seriatim::{
    Aggregate, AggregateKey, Append, Context, Entities, EntityOptions, EventStore, ExecuteError,
    ExecuteOptions, KeyedEvent, NewEvent, RawJson, Sequence, Snapshots, Upcast,
};
use uuid::Uuid;

use crate::support::{chance, start, within};

const HISTORIES: usize = 30;
const STEPS: usize = 30;
const IDS: [&str; 2] = ["1", "2"];

/// All that was read, and what depends on the order and on the bits of a float.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Diary {
    entries: Vec<Entry>,
    mean: f64,
    by_kind: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Entry {
    Added {
        n: f64,
        #[serde(default)]
        seen: Vec<String>,
    },
    Noted {
        text: String,
    },
    Decided {
        n: f64,
        on: u64,
    },
}

impl Entry {
    fn kind(&self) -> &'static str {
        match self {
            Entry::Added { .. } => "Added",
            Entry::Noted { .. } => "Noted",
            Entry::Decided { .. } => "Decided",
        }
    }
}

impl Diary {
    fn enter(&mut self, entry: &Entry) {
        if let Entry::Added { n, .. } | Entry::Decided { n, .. } = entry {
            self.mean = self.mean * 0.9 + n * 0.1;
        }
        *self.by_kind.entry(entry.kind().to_owned()).or_default() += 1;
        self.entries.push(entry.clone());
    }

    /// Stands for the whole state.
    fn digest(&self) -> u64 {
        let json = serde_json::to_vec(self).unwrap();
        Uuid::new_v5(&Uuid::NAMESPACE_OID, &json).as_u64_pair().0
    }
}

#[derive(Clone, Debug)]
enum Write {
    Decide(f64),
    Note,
    Both,
    /// Nothing is written, and the answer is the state.
    Look,
}

impl Aggregate for Diary {
    const KIND: &'static str = "diary";
    const SKIP_UNKNOWN_TYPES: bool = true;
    type Command = Write;
    type Event = Entry;
    type Error = (Sequence, Diary);
    type Services = ();

    fn handle(
        &self,
        command: &Write,
        context: &Context<'_>,
    ) -> Result<Vec<Entry>, (Sequence, Diary)> {
        let decided = |n| Entry::Decided { n, on: self.digest() };
        let noted = Entry::Noted { text: "by a command".to_owned() };
        match *command {
            Write::Decide(n) => Ok(vec![decided(n)]),
            Write::Note => Ok(vec![noted]),
            Write::Both => Ok(vec![decided(0.1), noted]),
            Write::Look => Err((context.sequence(), self.clone())),
        }
    }

    fn apply(&mut self, event: &Entry) {
        self.enter(event);
    }
}

/// What an upcaster sees of an event.
fn all_of(event: &KeyedEvent) -> String {
    let KeyedEvent { key, sequence, data, version, metadata, commit_id, .. } = event;
    let (time, position, id) = (event.recorded_at, event.position, event.event_id());
    let event_type = event.event_type();
    format!(
        "{key} {sequence} {position:?} {event_type} {version} {time:?} {id} {commit_id} {data} \
         {metadata:?}"
    )
}

#[derive(Deserialize)]
struct Amount {
    n: f64,
    #[serde(default)]
    seen: Vec<String>,
}

fn added(event: &KeyedEvent, version: u16) -> Result<Upcast, String> {
    let Amount { n, mut seen } = event.json().map_err(|error| error.to_string())?;
    seen.push(all_of(event));
    Ok(Upcast::to(version, &serde_json::json!({ "n": n * 1.1, "seen": seen })))
}

/// Which upcasters a store has; one bit each.
#[derive(Clone, Copy, Debug)]
struct Set(u8);

impl Set {
    const ALL: u8 = 5;

    fn has(self, upcaster: u8) -> bool {
        self.0 & (1 << upcaster) != 0
    }

    fn builder(self) -> seriatim::Builder {
        let noted = |event: &KeyedEvent| serde_json::json!({ "text": all_of(event) });
        let mut builder = EventStore::builder();
        if self.has(0) {
            builder = builder.upcaster("diary", "Added", 1, |event| added(event, 2));
        }
        if self.has(1) {
            builder = builder.upcaster("diary", "Added", 2, |event| added(event, 3));
        }
        if self.has(2) {
            builder = builder.upcaster("diary", "Old", 1, move |event| {
                Ok(Upcast::to(7, &noted(event)).event_type("Noted"))
            });
        }
        if self.has(3) {
            builder = builder.upcaster("diary", "Gone", 1, |event| {
                let is_even = event.sequence.get() % 2 == 0;
                Ok(if is_even { Upcast::dropped() } else { Upcast::unchanged() })
            });
        }
        if self.has(4) {
            builder = builder.upcaster("diary", "Noted", 1, move |event| {
                Ok(Upcast::to(2, &noted(event)).metadata_field("read", &true))
            });
        }
        builder
    }

    /// The model: a stored event as an entry; `None` if it is dropped, or of an unknown type.
    fn read(self, stored: &KeyedEvent) -> Option<Entry> {
        #[derive(Deserialize)]
        struct Text {
            text: String,
        }
        #[derive(Deserialize)]
        struct Decision {
            n: f64,
            on: u64,
        }
        match (stored.event_type(), stored.version) {
            ("Added", first) => {
                let Amount { mut n, mut seen } = stored.json().unwrap();
                let mut form = stored.clone();
                for version in first..=2 {
                    if !self.has(version as u8 - 1) {
                        break;
                    }
                    seen.push(all_of(&form));
                    n *= 1.1;
                    let data = serde_json::json!({ "n": n, "seen": seen });
                    form.data = RawJson::serialize(&data).unwrap();
                    form.version = version + 1;
                }
                Some(Entry::Added { n, seen })
            }
            ("Noted", 1) if self.has(4) => Some(Entry::Noted { text: all_of(stored) }),
            ("Noted", _) => {
                let Text { text } = stored.json().unwrap();
                Some(Entry::Noted { text })
            }
            ("Old", 1) if self.has(2) => Some(Entry::Noted { text: all_of(stored) }),
            ("Decided", _) => {
                let Decision { n, on } = stored.json().unwrap();
                Some(Entry::Decided { n, on })
            }
            _ => None,
        }
    }
}

struct World {
    memory: MemoryDriver,
    clock: ManualClock,
    set: Set,
    /// Other stores write too.
    is_shared: bool,
    faults: Arc<FaultyDriver>,
    store: EventStore,
    diaries: Entities<Diary>,
    /// How many of an aggregate's events were compared with the model.
    compared: BTreeMap<&'static str, usize>,
}

async fn open(
    memory: &MemoryDriver,
    clock: &ManualClock,
    (set, is_shared): (Set, bool),
    chance: &mut Rng,
) -> (Arc<FaultyDriver>, EventStore) {
    let faults = FaultyDriver::around(memory.reopen());
    faults.is_shared(is_shared);
    let snapshots = [Snapshots::Never, Snapshots::every(1), Snapshots::every(3)];
    let snapshots = EntityOptions::new().snapshots(snapshots[chance.usize(..3)]);
    let builder = set.builder().driver(faults.clone()).clock(clock.reader());
    let builder = builder.entity::<Diary>(snapshots).arbiters(1);
    // With one seat, an aggregate is passivated when another is written to.
    let builder = builder.max_resident(if chance.bool() { 1 } else { 10 });
    (faults, builder.open().await.unwrap())
}

fn raw(chance: &mut Rng) -> NewEvent {
    let n = chance.f64();
    let event = match chance.u8(..7) {
        0 | 1 => NewEvent::raw("Added", format!(r#"{{"n":{n}}}"#)),
        2 => NewEvent::raw("Added", format!(r#"{{"n":{n},"seen":["raw"]}}"#)).version(2),
        3 => NewEvent::raw("Added", format!(r#"{{"n":{n},"seen":[]}}"#)).version(3),
        4 => NewEvent::raw("Noted", r#"{"text":"raw"}"#),
        5 => NewEvent::raw("Old", r#"{"line":"raw"}"#),
        _ => NewEvent::raw("Gone", "null"),
    };
    match chance.bool() {
        true => event.metadata_field("user", &chance.u8(..)),
        false => event,
    }
}

impl World {
    async fn open(chance: &mut Rng) -> Self {
        let memory = MemoryDriver::new();
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        let set = Set(chance.u8(..1 << Set::ALL));
        let is_shared = chance.bool();
        let (faults, store) = open(&memory, &clock, (set, is_shared), chance).await;
        let (diaries, compared) = (store.entities(), BTreeMap::new());
        World { memory, clock, set, is_shared, faults, store, diaries, compared }
    }

    /// A further store over the same events.
    async fn another(&self, chance: &mut Rng) -> (Arc<FaultyDriver>, EventStore) {
        open(&self.memory, &self.clock, (self.set, self.is_shared), chance).await
    }

    /// Goes on in the next process, with other upcasters.
    async fn reopen(&mut self, chance: &mut Rng) {
        for id in IDS {
            // What was decided so far rests on the upcasters so far.
            self.compare(id, chance).await;
        }
        self.store.close().await.unwrap();
        self.set = Set(chance.u8(..1 << Set::ALL));
        (self.faults, self.store) = self.another(chance).await;
        self.diaries = self.store.entities();
    }

    /// What is stored, past the code under test.
    async fn stored(&self, id: &str) -> Vec<KeyedEvent> {
        let key = AggregateKey::new(&format!("diary/{id}")).unwrap();
        let mut pages = self.memory.fetch_events(&key, Fetch::ALL);
        let mut events = Vec::new();
        while let Some(page) = pages.next().await {
            events.extend(page.unwrap());
        }
        events
    }

    /// The model's states: after no event, after the first …
    fn states(&self, stored: &[KeyedEvent]) -> Vec<Diary> {
        let mut state = Diary::default();
        let mut states = vec![state.clone()];
        for event in stored {
            if let Some(entry) = self.set.read(event) {
                state.enter(&entry);
            }
            states.push(state.clone());
        }
        states
    }

    /// Writes that meet in one mailbox.
    async fn write_together(&self, chance: &mut Rng) {
        let id = IDS[chance.usize(..IDS.len())];
        let mut commands = Vec::new();
        let mut appends = Vec::new();
        for _ in 0..chance.usize(1..6) {
            self.clock.advance(Duration::from_micros(chance.u64(1..5_000_000)));
            if chance.bool() {
                let events: Vec<_> = (0..chance.usize(1..4)).map(|_| raw(chance)).collect();
                let append = Append::to(format!("diary/{id}")).events(events);
                appends.push(start(self.store.append(append)));
            } else {
                let command = match chance.u8(..4) {
                    0 => Write::Note,
                    1 => Write::Both,
                    2 => Write::Look,
                    _ => Write::Decide(chance.f64()),
                };
                let options = ExecuteOptions::new().metadata_field("by", &chance.u8(..));
                let execute = self.diaries.execute_with(id, command, options);
                commands.push(start(execute));
            }
        }
        // A fault may fail any of them. What counts is what is stored, and what looks were told.
        for append in appends {
            let _ = within("an append", append).await;
        }
        let mut seen = Vec::new();
        for command in commands {
            if let Err(ExecuteError::Rejected(state)) = within("a command", command).await {
                seen.push(state);
            }
        }
        let states = self.states(&self.stored(id).await);
        for (sequence, state) in seen {
            assert_eq!(state, states[sequence.get() as usize], "{id} seen at {sequence}");
        }
    }

    fn plan_fault(&self, chance: &mut Rng) {
        self.faults.next_put(match chance.u8(..if self.is_shared { 4 } else { 3 }) {
            0 => PutFault::WrittenThenTimeout,
            1 => PutFault::TimeoutOnly,
            2 => PutFault::Fails(DriverError::failed("on demand")),
            _ => PutFault::Overtaken(raw(chance)),
        });
    }

    /// Another store, with the same upcasters, writes an event and a command's.
    async fn write_elsewhere(&self, chance: &mut Rng) {
        let id = IDS[chance.usize(..IDS.len())];
        let (_, elsewhere) = self.another(chance).await;
        let append = Append::to(format!("diary/{id}")).event(raw(chance));
        elsewhere.append(append).await.unwrap();
        let diaries = elsewhere.entities::<Diary>();
        diaries.execute(id, Write::Decide(chance.f64())).await.unwrap();
        elsewhere.close().await.unwrap();
    }

    async fn compare(&mut self, id: &'static str, chance: &mut Rng) {
        let stored = self.stored(id).await;
        let states = self.states(&stored);
        let compared = self.compared.entry(id).or_default();
        for (index, event) in stored.iter().enumerate().skip(*compared) {
            if event.event_type() == "Decided" {
                let Entry::Decided { on, .. } = self.set.read(event).unwrap() else { continue };
                assert_eq!(on, states[index].digest(), "{id}: {event:?} was decided on another");
            }
        }
        *compared = stored.len();
        let state = || states.last().unwrap();
        match within("a look", self.diaries.execute(id, Write::Look)).await {
            Err(ExecuteError::Rejected((sequence, resident))) => {
                assert_eq!(sequence, stored.len() as u64, "{id}");
                assert_eq!(resident, *state(), "{id}: the resident state");
            }
            other => panic!("{id}: {other:?}"),
        }
        let loaded = within("a load", self.diaries.state(id)).await.unwrap();
        assert_eq!(loaded.state, *state(), "{id}: the loaded state");
        let at = chance.usize(..states.len());
        let past = within("a load", self.diaries.at(id, at as u64)).await.unwrap();
        assert_eq!(past.state, states[at], "{id} at {at}");
    }
}

async fn history(chance: &mut Rng) {
    let mut world = World::open(chance).await;
    for _ in 0..STEPS {
        match chance.u8(..12) {
            0 => world.reopen(chance).await,
            1 | 2 => world.plan_fault(chance),
            3 if world.is_shared => world.write_elsewhere(chance).await,
            _ => world.write_together(chance).await,
        }
        // Not always, so that states also run on without being looked at.
        if chance.bool() {
            for id in IDS {
                world.compare(id, chance).await;
            }
        }
    }
    for id in IDS {
        world.compare(id, chance).await;
    }
    world.store.close().await.unwrap();
}

#[tokio::test]
async fn resident_states_equal_the_fold_of_what_is_stored() {
    let mut chance = chance();
    for _ in 0..HISTORIES {
        let seed = chance.u64(..);
        println!("history of seed {seed}");
        history(&mut Rng::with_seed(seed)).await;
    }
}

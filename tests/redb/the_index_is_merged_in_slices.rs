//! What a batch adds to the index is merged later, in slices. Whatever is merged by then, reads,
//! keys and `verify` say the same, also after a kill; and redb writes few bytes for each byte of
//! event.
//!
//! `SERIATIM_SEED` runs one seed alone.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::StreamExt;
use futures::executor::block_on;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use seriatim::driver::redb::{Disk, DiskFile, RedbDriver};
use seriatim::driver::{Driver, DriverError, Fetch, Put};
use seriatim::{AggregateKey, Sequence};

use crate::support::puts::{all, assert_dense, event, key, log, small};
use crate::support::sim_disk::{Random, SimDisk};

const DELTAS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("deltas");

/// How many events each aggregate has.
type Model = BTreeMap<AggregateKey, u64>;

fn open(disk: &SimDisk) -> RedbDriver {
    // With so much of a tail, what is old is merged in several slices, and a kill comes between two.
    small().tail_bytes(256 << 10).open_on(Arc::new(disk.clone())).unwrap()
}

/// One put with an event or several for each of the aggregates.
fn put_of(model: &mut Model, keys: &[AggregateKey], each: u64) -> Arc<Put> {
    put_filled(model, keys, each, 10)
}

fn put_filled(model: &mut Model, keys: &[AggregateKey], each: u64, filler: usize) -> Arc<Put> {
    let mut events = Vec::new();
    for key in keys {
        let latest = model.entry(key.clone()).or_default();
        let next = (*latest + 1..).take(each as usize);
        events.extend(next.map(|n| event(key, n, uuid::Uuid::nil(), filler)));
        *latest += each;
    }
    Arc::new(Put::new(events).unwrap())
}

fn any_key(random: &mut Random) -> AggregateKey {
    // Few that are hot, and very many others.
    match random.one_in(4) {
        true => key(&format!("hot/{}", random.below(3))),
        false => key(&format!("account/{:04}", random.below(2_000))),
    }
}

fn append(driver: &RedbDriver, model: &mut Model, random: &mut Random) {
    let mut keys: Vec<_> = (0..=random.below(40)).map(|_| any_key(random)).collect();
    keys.sort_unstable();
    keys.dedup();
    let put = put_of(model, &keys, 1 + random.below(3));
    block_on(driver.put_events(put)).unwrap();
}

fn check_page(driver: &RedbDriver, model: &Model, random: &mut Random) {
    let key = any_key(random);
    let latest = model.get(&key).copied().unwrap_or(0);
    assert_eq!(block_on(driver.latest_sequence(&key)).unwrap(), Sequence::new(latest));
    let after = random.below(latest + 2);
    let limit = 1 + random.below(30);
    let fetch = Fetch::ALL.after(Sequence::new(after)).limit(limit as usize);
    let (mut expected, fetch): (Vec<u64>, Fetch) = match random.one_in(2) {
        false => ((after + 1..=latest).collect(), fetch),
        true => ((1..=latest).rev().filter(|n| *n < after).collect(), fetch.backwards()),
    };
    let more = expected.len() as u64 > limit;
    expected.truncate(limit as usize);
    let page = driver.fetch_page_now(&key, fetch).unwrap().unwrap();
    let found: Vec<u64> = page.events.iter().map(|event| event.sequence.get()).collect();
    assert_eq!((found, page.more), (expected, more), "{key}, {fetch:?} of {latest}");
    assert!(page.events.iter().all(|event| event.key == key));
}

fn check_keys(driver: &RedbDriver, model: &Model, random: &mut Random) {
    let prefix = ["", "account/", "account/1", "hot/", "none"][random.below(5) as usize];
    let after = random.one_in(2).then(|| any_key(random));
    let behind = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let expected: Vec<AggregateKey> = model
        .range::<AggregateKey, _>((behind, Bound::Unbounded))
        .map(|(key, _)| key.clone())
        .filter(|key| key.as_str().starts_with(prefix))
        .collect();
    let pages = block_on(driver.keys(prefix, after.as_ref()).collect::<Vec<_>>());
    let found: Vec<AggregateKey> = pages.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(found, expected, "{prefix:?} after {after:?}");
}

fn check_all(driver: &RedbDriver, model: &Model) {
    let verified = driver.verify().unwrap();
    assert_eq!(verified.events, model.values().sum::<u64>());
    assert_eq!(verified.aggregates, model.len() as u64);
    assert_eq!(driver.stats().keys, Some(model.len() as u64));
    for (key, latest) in model {
        let events = all(driver, key).unwrap();
        assert_eq!(events.len() as u64, *latest, "{key}");
        assert_dense(&events);
    }
}

#[test]
fn reads_and_keys_are_those_of_a_model_whatever_is_merged() {
    let seeds = match std::env::var("SERIATIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=3).collect(),
    };
    for seed in seeds {
        println!("SERIATIM_SEED={seed}");
        let mut random = Random::new(seed);
        let (mut disk, mut model) = (SimDisk::new(), Model::new());
        let mut driver = open(&disk);
        for step in 0..1_200 {
            match random.below(400) {
                0 => {
                    // Killed: what was open goes on with a disk that nobody sees.
                    let left = disk.after_kill();
                    driver = open(&left);
                    disk = left;
                    check_all(&driver, &model);
                }
                1 => {
                    block_on(driver.close()).unwrap();
                    driver = open(&disk);
                }
                2 => assert_eq!(driver.reindex().unwrap(), model.values().sum::<u64>()),
                3 => check_all(&driver, &model),
                4..20 => check_keys(&driver, &model, &mut random),
                20..200 => check_page(&driver, &model, &mut random),
                _ => append(&driver, &mut model, &mut random),
            }
            if step % 400 == 399 {
                check_all(&driver, &model);
            }
        }
        assert_eq!(log(&driver).unwrap().len() as u64, model.values().sum::<u64>());
        block_on(driver.close()).unwrap();
    }
}

#[test]
fn readers_see_whole_histories_while_slices_are_merged() {
    let disk = SimDisk::new();
    let driver = open(&disk);
    let keys: Vec<AggregateKey> = (0..200).map(|n| key(&format!("account/{n}"))).collect();
    let (answered, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let read = || {
            let mut random = Random::new(7);
            while !done.load(Ordering::Acquire) {
                let least = answered.load(Ordering::Acquire);
                let key = &keys[random.below(200) as usize];
                let events = all(&driver, key).unwrap();
                assert!(events.len() as u64 >= least, "{key}: {} of {least}", events.len());
                assert_dense(&events);
            }
        };
        let reader = scope.spawn(read);
        let mut model = Model::new();
        let puts = (1..=60).map(|round| {
            block_on(driver.put_events(put_of(&mut model, &keys, 1)))?;
            answered.store(round, Ordering::Release);
            Ok(())
        });
        let put: Result<(), DriverError> = puts.collect();
        done.store(true, Ordering::Release);
        reader.join().unwrap();
        put.unwrap();
        check_all(&driver, &model);
    });
    block_on(driver.close()).unwrap();
}

#[test]
fn a_killed_store_has_deltas_and_a_closed_one_has_none() {
    let disk = SimDisk::new();
    let driver = open(&disk);
    let mut model = Model::new();
    let keys: Vec<AggregateKey> = (0..20).map(|n| key(&format!("account/{n}"))).collect();
    block_on(driver.put_events(put_of(&mut model, &keys, 2))).unwrap();
    driver.verify().unwrap();
    let killed = disk.after_kill();
    assert!(deltas(&killed) > 0);
    let driver_of_killed = open(&killed);
    check_all(&driver_of_killed, &model);
    for driver in [driver, driver_of_killed] {
        block_on(driver.close()).unwrap();
    }
    assert_eq!((deltas(&disk), deltas(&killed)), (0, 0));
    check_all(&open(&disk), &model);
}

/// The deltas in redb's file.
fn deltas(disk: &SimDisk) -> u64 {
    with_file(disk, |database| {
        database.begin_read().unwrap().open_table(DELTAS).unwrap().len().unwrap()
    })
}

/// Changes redb's file of a store that nobody has open.
fn with_file<T>(disk: &SimDisk, work: impl FnOnce(&Database) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.redb");
    std::fs::write(&path, disk.content("events.redb")).unwrap();
    let database = Database::open(&path).unwrap();
    let answer = work(&database);
    drop(database);
    disk.set_content("events.redb", std::fs::read(&path).unwrap());
    answer
}

fn refusal(disk: &SimDisk) -> String {
    match small().open_on(Arc::new(disk.clone())).map(drop) {
        Err(DriverError::Damaged { message }) => message.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_damaged_or_missing_delta_is_named_and_made_again() {
    let disk = SimDisk::new();
    let driver = open(&disk);
    let mut model = Model::new();
    let keys: Vec<AggregateKey> = (0..20).map(|n| key(&format!("account/{n}"))).collect();
    for _ in 0..3 {
        block_on(driver.put_events(put_of(&mut model, &keys, 1))).unwrap();
        driver.verify().unwrap();
    }
    type Harm = fn(&mut redb::Table<'_, u64, &'static [u8]>);
    let harms: [(&str, Harm); 4] = [
        ("a flipped bit", |table| {
            let mut stored = table.get(21).unwrap().unwrap().value().to_vec();
            stored[40] ^= 4;
            table.insert(21, stored.as_slice()).unwrap();
        }),
        ("under another key", |table| {
            let stored = table.remove(21).unwrap().unwrap().value().to_vec();
            table.insert(22, stored.as_slice()).unwrap();
        }),
        ("one in the middle is missing", |table| drop(table.remove(21).unwrap())),
        ("the last is missing", |table| drop(table.remove(41).unwrap())),
    ];
    for (what, harm) in harms {
        let killed = disk.after_kill();
        with_file(&killed, |database| {
            let transaction = database.begin_write().unwrap();
            harm(&mut transaction.open_table(DELTAS).unwrap());
            transaction.commit().unwrap();
        });
        let message = refusal(&killed);
        assert!(message.contains("reindex"), "{what}: {message}");
        let driver = small().rebuild_index().open_on(Arc::new(killed.clone())).unwrap();
        check_all(&driver, &model);
        block_on(driver.close()).unwrap();
        check_all(&open(&killed), &model);
    }
    block_on(driver.close()).unwrap();
}

/// A disk that counts what is written to redb's file.
struct CountingDisk(SimDisk, Arc<AtomicU64>);

#[derive(Debug)]
struct CountingFile(Arc<dyn DiskFile>, Arc<AtomicU64>);

impl CountingDisk {
    fn file(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        match name.starts_with("events.") {
            true => Arc::new(CountingFile(file, self.1.clone())),
            false => file,
        }
    }
}

impl Disk for CountingDisk {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.0.list(folder)
    }

    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn DiskFile>>> {
        Ok(self.0.open(name)?.map(|file| self.file(name, file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.create(name).map(|file| self.file(name, file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.0.sync_names()
    }
}

impl DiskFile for CountingFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.1.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.0.write_at(offset, data)
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.0.set_size(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// As many aggregates to a byte of the tail as a million to one of the default size.
#[test]
fn redb_writes_few_bytes_for_each_byte_of_event_of_very_many_aggregates() {
    const AGGREGATES: u64 = 20_000;
    let written = Arc::new(AtomicU64::new(0));
    let disk = CountingDisk(SimDisk::new(), written.clone());
    let driver = RedbDriver::builder()
        .tail_bytes((64 << 20) / (1_000_000 / AGGREGATES) as usize)
        .apply_after(std::time::Duration::from_secs(3_600))
        .open_on(Arc::new(disk))
        .unwrap();
    let keys: Vec<AggregateKey> =
        (0..AGGREGATES).map(|n| key(&format!("account/{n:012}"))).collect();
    let mut model = Model::new();
    for keys in keys.chunks(500) {
        block_on(driver.put_events(put_filled(&mut model, keys, 1, 60))).unwrap();
    }
    driver.verify().unwrap();
    written.store(0, Ordering::Relaxed);
    let (mut random, mut bytes) = (Random::new(1), 0);
    for _ in 0..160 {
        let mut some: Vec<AggregateKey> =
            (0..250).map(|_| keys[random.below(AGGREGATES) as usize].clone()).collect();
        some.sort_unstable();
        some.dedup();
        let put = put_filled(&mut model, &some, 1, 60);
        bytes += put.size_bytes() as u64;
        block_on(driver.put_events(put)).unwrap();
    }
    driver.verify().unwrap();
    let ratio = written.load(Ordering::Relaxed) as f64 / bytes as f64;
    println!("{ratio:.1} bytes for each of {bytes}");
    assert!(ratio <= 6.0, "redb wrote {ratio:.1} bytes for each byte of event");
    block_on(driver.close()).unwrap();
}

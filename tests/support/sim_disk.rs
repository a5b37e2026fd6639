//! A disk that exists in memory only and can lose power.
//!
//! Writes that were not flushed are kept in a list. When the power fails, each of them survives
//! whole, in some of its sectors, or not at all, whatever was written after it: that
//! loses, tears and reorders. File names that were not flushed come and go the same way. Everything
//! random comes from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use seriatim::driver::redb::{Disk, DiskFile};

const SECTOR: usize = 512;
const PAGE: usize = 4096;
/// What a frame of the journal begins with.
const FRAME: &[u8] = &[0xfe, b'S', b'J', 0];

/// A disk; clones are the same one.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<World>>);

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimDisk")
    }
}

#[derive(Default)]
struct World {
    /// By number, so that a name can be given to another file.
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Writes and flushes until the power fails.
    power: Option<u64>,
    operations: u64,
    /// Bytes that all files may take together.
    capacity: Option<u64>,
    /// What a full disk answers with: `StorageFull` unless told.
    full: Option<io::ErrorKind>,
    /// Others take all the room when a file whose name begins so is written.
    crowded: Option<String>,
    /// Which of the next flushes fails, and of which files.
    failing_sync: Option<String>,
    /// The next flush that the keeper makes of files whose names begin so fails; frames are not
    /// written before that.
    failing_keeper: Option<String>,
    /// The next flush of names fails.
    failing_names: bool,
    /// Names that a failed flush dropped: no later flush makes them durable, unless they are
    /// written again.
    lost_names: BTreeSet<String>,
    /// Flushes of files whose names begin so do not return for now.
    held_sync: Option<String>,
    /// Whether one has come.
    a_sync_is_held: bool,
    /// What the disk writes whole: 512 bytes unless told.
    tear: Option<usize>,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// Which 4 KiB pages were ever written: a file made longer takes no space by that.
    allocated: Vec<bool>,
}

impl Content {
    fn settled(content: Vec<u8>) -> Self {
        let allocated = vec![true; content.len().div_ceil(PAGE)];
        Content { now: content.clone(), durable: content, unsynced: Vec::new(), allocated }
    }

    /// The pages that a write would have to allocate.
    fn missing(&self, offset: usize, bytes: usize) -> impl Iterator<Item = usize> + '_ {
        let pages = offset / PAGE..(offset + bytes).div_ceil(PAGE);
        pages.filter(|page| !self.allocated.get(*page).copied().unwrap_or(false))
    }

    fn allocate(&mut self, offset: usize, bytes: usize) {
        let pages: Vec<usize> = self.missing(offset, bytes).collect();
        for page in pages {
            if self.allocated.len() <= page {
                self.allocated.resize(page + 1, false);
            }
            self.allocated[page] = true;
        }
    }

    fn has_unsynced_frame(&self) -> bool {
        let is_frame = |change: &Change| match change {
            Change::Write { data, .. } => data.starts_with(FRAME),
            Change::Size(_) => false,
        };
        self.unsynced.iter().any(is_frame)
    }

    fn used(&self) -> u64 {
        (self.allocated.iter().filter(|page| **page).count() * PAGE) as u64
    }
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Size(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Size(bytes) => content.resize(*bytes, 0),
            Change::Write { offset, data } => write(content, *offset, data),
        }
    }
}

fn write(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(data);
}

/// A small random generator, so that a seed means the same for ever.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

impl World {
    /// Counts a write or a flush; fails it when the power is gone.
    fn spend(&mut self) -> io::Result<()> {
        self.operations += 1;
        match &mut self.power {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                if *left == 0 { Err(io::Error::other("the power is gone")) } else { Ok(()) }
            }
        }
    }

    fn keeper_fails(&self, name: &str) -> bool {
        self.failing_keeper.as_ref().is_some_and(|failing| name.starts_with(failing.as_str()))
    }

    fn powered(&self) -> io::Result<()> {
        if self.power == Some(0) { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|number| self.files[*number].used()).sum()
    }

    fn make_room(&self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if self.used() + more > capacity => {
                Err(io::Error::from(self.full.unwrap_or(io::ErrorKind::StorageFull)))
            }
            _ => Ok(()),
        }
    }
}

impl SimDisk {
    pub fn new() -> Self {
        SimDisk(Arc::default())
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// The power fails at the write or flush with this number from now on.
    pub fn fail_power_after(&self, operations: u64) {
        self.world().power = Some(operations);
    }

    /// The power stays, if it has not failed by now.
    pub fn keep_power(&self) {
        let mut world = self.world();
        if world.power != Some(0) {
            world.power = None;
        }
    }

    pub fn has_failed(&self) -> bool {
        self.world().power == Some(0)
    }

    /// Writes and flushes so far.
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// From now on all files together may not grow over this.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.world().capacity = bytes;
    }

    /// What a write is refused with that finds no room.
    pub fn refuse_as(&self, full: io::ErrorKind) {
        self.world().full = Some(full);
    }

    /// Others fill the disk when a file whose name begins so is written next: it gets no more room
    /// than was set aside for it.
    pub fn crowd(&self, name: &str) {
        let mut world = self.world();
        world.crowded = Some(name.to_owned());
        world.capacity = None;
    }

    pub fn used(&self) -> u64 {
        self.world().used()
    }

    /// The next flush of a file whose name begins so fails.
    pub fn fail_next_sync(&self, name: &str) {
        self.world().failing_sync = Some(name.to_owned());
    }

    /// The next flush of names fails, and drops what was not durable: the flush after it succeeds
    /// all the same.
    pub fn fail_next_sync_of_names(&self) {
        self.world().failing_names = true;
    }

    /// Whether the failure is still to come.
    pub fn is_to_fail_names(&self) -> bool {
        self.world().failing_names
    }

    /// The keeper's next flush of an unflushed frame in a file whose name begins so fails, and takes
    /// the error away: whoever flushes the same file after it hears of nothing.
    pub fn fail_next_keeper_sync(&self, name: &str) {
        self.world().failing_keeper = Some(name.to_owned());
    }

    /// Flushes of files whose names begin so wait until this is called with `None`.
    pub fn hold_syncs(&self, name: Option<&str>) {
        let mut world = self.world();
        world.held_sync = name.map(str::to_owned);
        world.a_sync_is_held = false;
    }

    /// Whether a flush waits since they are held.
    pub fn holds_a_sync(&self) -> bool {
        self.world().a_sync_is_held
    }

    /// Whether the flush that is to fail has not come yet.
    pub fn awaits_sync(&self) -> bool {
        self.world().failing_sync.is_some()
    }

    /// A loss of power tears writes at multiples of this many bytes.
    pub fn tear_at(&self, bytes: usize) {
        self.world().tear = Some(bytes);
    }

    pub fn names(&self) -> Vec<String> {
        self.world().names.keys().cloned().collect()
    }

    pub fn content(&self, name: &str) -> Vec<u8> {
        let world = self.world();
        world.files[world.names[name]].now.clone()
    }

    pub fn set_content(&self, name: &str, content: Vec<u8>) {
        let mut world = self.world();
        let content = Content::settled(content);
        match world.names.get(name).copied() {
            Some(number) => world.files[number] = content,
            None => {
                let number = world.files.len();
                world.files.push(content);
                world.names.insert(name.to_owned(), number);
                world.durable_names.insert(name.to_owned(), number);
            }
        }
    }

    pub fn remove_file(&self, name: &str) {
        let mut world = self.world();
        world.names.remove(name);
        world.durable_names.remove(name);
    }

    /// The disk as a process finds it that begins after this one was killed: nothing written is
    /// lost.
    pub fn after_kill(&self) -> SimDisk {
        let world = self.world();
        let mut left = World {
            files: world.files.clone(),
            names: world.names.clone(),
            durable_names: world.names.clone(),
            ..World::default()
        };
        for file in &mut left.files {
            file.durable = file.now.clone();
            file.unsynced.clear();
        }
        SimDisk(Arc::new(Mutex::new(left)))
    }

    /// The disk as it is found after a loss of power.
    pub fn after_power_loss(&self, random: &mut Random) -> SimDisk {
        let world = self.world();
        let mut left = World { names: world.durable_names.clone(), ..World::default() };
        // A name that was made or removed without a flush may have come through.
        let touched: Vec<&String> = world.names.keys().chain(world.durable_names.keys()).collect();
        for name in touched {
            let is_lost = world.lost_names.contains(name);
            let is_open = world.names.get(name) != world.durable_names.get(name);
            if is_open && !is_lost && random.one_in(2) {
                match world.names.get(name) {
                    Some(number) => left.names.insert(name.clone(), *number),
                    None => left.names.remove(name),
                };
            }
        }
        left.durable_names = left.names.clone();
        for file in &world.files {
            left.files.push(survivor(file, world.tear.unwrap_or(SECTOR), random));
        }
        SimDisk(Arc::new(Mutex::new(left)))
    }
}

fn survivor(file: &Content, tear: usize, random: &mut Random) -> Content {
    let mut content = file.durable.clone();
    // All of it, nothing of it, or each change for itself: every kind of loss must be common.
    let mood = random.below(4);
    for change in &file.unsynced {
        let fate = match mood {
            0 => 0,
            1 => 1,
            _ => random.below(3),
        };
        match (fate, change) {
            (0, _) => change.apply(&mut content),
            (1, _) | (_, Change::Size(_)) => {}
            (_, Change::Write { offset, data }) => {
                let mut at = 0;
                while at < data.len() {
                    let end = (at + tear - (offset + at) % tear).min(data.len());
                    if random.one_in(2) {
                        write(&mut content, offset + at, &data[at..end]);
                    }
                    at = end;
                }
            }
        }
    }
    Content::settled(content)
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    number: usize,
    name: String,
}

impl Disk for SimDisk {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let world = self.world();
        world.powered()?;
        let prefix = format!("{folder}/");
        Ok(world.names.keys().filter(|name| name.starts_with(&prefix)).cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let world = self.world();
        world.powered()?;
        let Some(number) = world.names.get(name) else { return Ok(None) };
        Ok(Some(Arc::new(SimFile { disk: self.clone(), number: *number, name: name.to_owned() })))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        world.spend()?;
        if world.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.files.push(Content::default());
        let number = world.files.len() - 1;
        world.names.insert(name.to_owned(), number);
        world.lost_names.remove(name);
        Ok(Arc::new(SimFile { disk: self.clone(), number, name: name.to_owned() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        world.spend()?;
        let number = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(to.to_owned(), number);
        world.lost_names.remove(from);
        world.lost_names.remove(to);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        world.spend()?;
        world.lost_names.remove(name);
        world.names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut world = self.world();
        world.spend()?;
        let World { names, durable_names, lost_names, failing_names, .. } = &mut *world;
        let all: BTreeSet<String> = names.keys().chain(durable_names.keys()).cloned().collect();
        let changed = all.into_iter().filter(|name| names.get(name) != durable_names.get(name));
        let changed: Vec<String> = changed.filter(|name| !lost_names.contains(name)).collect();
        if std::mem::take(failing_names) {
            lost_names.extend(changed);
            return Err(io::Error::other("the disk could not flush"));
        }
        for name in changed {
            match names.get(&name) {
                Some(number) => durable_names.insert(name, *number),
                None => durable_names.remove(&name),
            };
        }
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        let world = self.disk.world();
        world.powered()?;
        Ok(world.files[self.number].now.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let world = self.disk.world();
        world.powered()?;
        let content = &world.files[self.number].now;
        let found = content.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut world = self.disk.world();
        world.powered()?;
        if world.crowded.as_ref().is_some_and(|name| self.name.starts_with(name.as_str())) {
            world.crowded = None;
            world.capacity = Some(world.used());
        }
        let pages = world.files[self.number].missing(offset as usize, data.len()).count();
        if pages > 0 {
            world.make_room((pages * PAGE) as u64)?;
        }
        // The write at which the power fails may still have reached the disk, in part.
        let spent = world.spend();
        let file = &mut world.files[self.number];
        file.allocate(offset as usize, data.len());
        write(&mut file.now, offset as usize, data);
        file.unsynced.push(Change::Write { offset: offset as usize, data: data.to_vec() });
        // Between this write and its flush comes the keeper's, which is to fail.
        let began = std::time::Instant::now();
        while data.starts_with(FRAME)
            && world.keeper_fails(&self.name)
            && began.elapsed() < std::time::Duration::from_secs(10)
        {
            drop(world);
            std::thread::yield_now();
            world = self.disk.world();
        }
        spent
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        world.spend()?;
        let file = &mut world.files[self.number];
        file.now.resize(bytes as usize, 0);
        file.allocated.truncate((bytes as usize).div_ceil(PAGE));
        file.unsynced.push(Change::Size(bytes as usize));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.world();
        while world.held_sync.as_ref().is_some_and(|name| self.name.starts_with(name.as_str())) {
            world.a_sync_is_held = true;
            drop(world);
            std::thread::yield_now();
            world = self.disk.world();
        }
        let is_keeper = std::thread::current().name() == Some("seriatim-keeper");
        if is_keeper
            && world.keeper_fails(&self.name)
            && world.files[self.number].has_unsynced_frame()
        {
            world.failing_keeper = None;
            world.files[self.number].unsynced.clear();
            return Err(io::Error::other("the disk could not flush"));
        }
        world.spend()?;
        if world.failing_sync.as_ref().is_some_and(|name| self.name.starts_with(name.as_str())) {
            // Reported once, and what could not be flushed is dropped: that is what Linux does.
            world.failing_sync = None;
            world.files[self.number].unsynced.clear();
            return Err(io::Error::other("the disk could not flush"));
        }
        let file = &mut world.files[self.number];
        for change in std::mem::take(&mut file.unsynced) {
            change.apply(&mut file.durable);
        }
        Ok(())
    }
}

//! One history: the lives of one store, how each ends, and what is found after it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use seriatim::driver::DriverError;
use seriatim::driver::redb::{RedbBuilder, RedbDriver};

use crate::clients::{self, Ending};
use crate::sim_disk::{Random, SimDisk};
use crate::witness::{Fault, Witness, check};

#[derive(Default)]
pub(crate) struct Totals {
    histories: u64,
    lives: u64,
    pub(crate) answered: u64,
    pub(crate) unanswered: u64,
    pub(crate) handled: u64,
    pub(crate) seen: u64,
    /// How lives ended: closed, killed, without power, after a failed flush.
    endings: [u64; 4],
    /// Openings that a loss of power cut short.
    cut_openings: u64,
    rotted: u64,
    noticed: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { histories, lives, answered, unanswered, handled, seen, .. } = self;
        let [closed, killed, powerless, unflushed] = self.endings;
        write!(
            f,
            "{histories} histories, {lives} lives ({closed} closed, {killed} killed, {powerless} \
             without power, {unflushed} after a failed flush; {} cut short while opening): \
             {answered} calls answered, {unanswered} not, {handled} events handled, {seen} seen; \
             {} bits rotted, {} noticed",
            self.cut_openings, self.rotted, self.noticed
        )
    }
}

/// Journal files that are switched all the time, or one that is never full.
fn options(random: &mut fastrand::Rng) -> RedbBuilder {
    let file = if random.u8(..4) == 0 { 2 << 20 } else { RedbBuilder::MIN_JOURNAL_FILE_BYTES };
    RedbDriver::builder()
        .journal_file_bytes(file)
        .tail_bytes([16 << 10, 64 << 10, 512 << 10][random.usize(..3)])
        .cache_bytes(1 << 20)
        .apply_after(Duration::from_millis([0, 2, 3_600_000][random.usize(..3)]))
}

fn open(disk: &SimDisk, random: &mut fastrand::Rng) -> Result<RedbDriver, DriverError> {
    options(random).open_on(Arc::new(disk.clone()))
}

pub(crate) fn run(seed: u64, totals: &mut Totals) -> Result<(), Fault> {
    let mut random = fastrand::Rng::with_seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut disk = SimDisk::new();
    let mut witness = Witness::default();
    let lives = random.u64(2..6);
    for life in 1..=lives {
        let ending = Ending::any(&mut random);
        totals.lives += 1;
        disk.tear_at(if random.bool() { 512 } else { 4096 });
        if random.u8(..5) == 0 {
            disk.fail_power_after(random.u64(1..80));
        }
        let opened = open(&disk, &mut random);
        disk.keep_power();
        disk = match opened {
            Err(_) if disk.has_failed() => {
                totals.cut_openings += 1;
                disk.after_power_loss(&mut Random::new(random.u64(..)))
            }
            Err(error) => return Err(format!("life {life}: it does not open: {error}").into()),
            // Behind the opening, while files were made ahead.
            Ok(driver) if disk.has_failed() => {
                totals.cut_openings += 1;
                drop(driver);
                disk.after_power_loss(&mut Random::new(random.u64(..)))
            }
            Ok(driver) => {
                totals.endings[ending.number()] += 1;
                let living = clients::live(driver, &disk, ending, &mut random, witness);
                let told = |fault| format!("life {life}, {ending:?}: {fault}");
                let (left, known, _) = runtime.block_on(living).map_err(told)?;
                witness = known;
                left
            }
        };
        // Now and then the next life finds what nobody has repaired.
        if life == lives || random.u8(..3) > 0 {
            let driver = open(&disk, &mut random)
                .map_err(|error| format!("after life {life}, {ending:?}: {error}"))?;
            let checked = runtime.block_on(check::check(driver, &mut witness));
            checked.map_err(|fault| format!("after life {life}, {ending:?}: {fault}"))?;
            disk = disk.after_kill();
        }
    }
    totals.count(&witness);
    rot(&disk, &runtime, &witness, &mut random, totals)
}

impl Totals {
    fn count(&mut self, witness: &Witness) {
        self.histories += 1;
        self.answered += witness.appends + witness.commands;
        self.unanswered += witness.unanswered;
        self.handled += witness.handled_in_all;
        self.seen += witness.reads;
    }
}

/// One more life, which ends by a kill while nothing is under way; then one bit flips, in any file
/// but redb's: redb can panic on a damaged page while it cleans up after a panic, which ends the
/// process.
fn rot(
    disk: &SimDisk,
    runtime: &tokio::runtime::Runtime,
    witness: &Witness,
    random: &mut fastrand::Rng,
    totals: &mut Totals,
) -> Result<(), Fault> {
    let driver = open(disk, random)?;
    let living = clients::live(driver, disk, Ending::Idle, random, witness.clone());
    let (disk, witness, settled) = runtime.block_on(living)?;
    let mut names = disk.names();
    names.retain(|name| name != "events.redb");
    let name = &names[random.usize(..names.len())];
    let mut content = disk.content(name);
    if content.is_empty() {
        return Ok(());
    }
    // Most of a journal file are zeros, which nobody reads.
    let mut at = random.usize(..content.len());
    for _ in 0..20 {
        if content[at] == 0 {
            at = random.usize(..content.len());
        }
    }
    let bit = random.u8(..8);
    content[at] ^= 1 << bit;
    disk.set_content(name, content);
    totals.rotted += 1;
    let noticed = match open(&disk, random) {
        Err(_) => true,
        Ok(driver) => {
            let checked = runtime.block_on(check::check_rotten(driver, &witness, settled));
            checked.map_err(|fault| format!("bit {bit} of byte {at} of {name}: {fault}"))?
        }
    };
    totals.noticed += u64::from(noticed);
    Ok(())
}

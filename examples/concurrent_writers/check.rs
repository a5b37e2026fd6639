//! Holds what stands in the store against what the writers were told.
//!
//! The ledger says which append was told to stand at which place; the events come in, aggregate by
//! aggregate and in the order read. Each event's payload says whose it is, and must be, byte for byte, the
//! payload that was written, under the commit id that was answered. What is wrong is counted by kind, and
//! the first few of it are told in words.

use std::collections::HashSet;

use seriatim::{AggregateKey, KeyedEvent};

use crate::ledger::{Entry, Fate, Ledger, lower_half};
use crate::load::EVENT_TYPE;
use crate::payload::{Origin, Payloads};
use crate::tally::Tally;

/// So many of each kind are told in words; all are counted.
const TOLD: usize = 3;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Events read.
    pub(crate) events: u64,
    /// Appends that were answered as committed.
    pub(crate) answered: u64,
    /// Answered, and nowhere to be found; also where not everything could be read.
    pub(crate) missing: u64,
    /// Answered, and something else stands in its place, or under another commit id.
    pub(crate) altered: u64,
    /// Answered, and found in another place only.
    pub(crate) misplaced: u64,
    /// Sequences that are skipped.
    pub(crate) gaps: u64,
    /// Events that are there once more than they should.
    pub(crate) duplicates: u64,
    /// Events that nobody was told of.
    pub(crate) unasked: u64,
    /// Aggregates with events that the store does not list.
    pub(crate) unlisted: u64,
    /// Appends whose fate was left open: how many are there, and how many are not. Both are right.
    pub(crate) indeterminate_found: u64,
    pub(crate) indeterminate_absent: u64,
    /// Why not everything could be read.
    pub(crate) unreadable: Option<String>,
    /// What is wrong, by kind and in words: the first few of each kind.
    pub(crate) told: Vec<(&'static str, String)>,
}

impl Findings {
    /// Answered appends that are not there as they were answered.
    pub(crate) fn lost(&self) -> u64 {
        self.missing + self.altered + self.misplaced
    }

    pub(crate) fn is_sound(&self) -> bool {
        let wrong = [self.lost(), self.gaps, self.duplicates, self.unasked, self.unlisted];
        wrong == [0; 5] && self.unreadable.is_none()
    }

    fn tell(&mut self, kind: &'static str, text: impl FnOnce() -> String) {
        if self.told.iter().filter(|(told, _)| *told == kind).count() < TOLD {
            self.told.push((kind, text()));
        }
    }
}

/// Where an append was found so far.
#[derive(Clone, Copy, Default)]
struct Found {
    in_place: bool,
    /// Its place holds something else, and that was told.
    altered: bool,
    /// How often it stands where it was not told to be.
    elsewhere: u8,
}

/// The comparison while the events come in.
pub(crate) struct Check<'a> {
    ledger: &'a Ledger,
    payloads: &'a Payloads,
    keys: &'a [AggregateKey],
    /// By aggregate and sequence (less 1): the append that was told to stand there.
    places: Vec<Vec<Option<Origin>>>,
    /// By writer and counter.
    found: Vec<Vec<Found>>,
    aggregate: usize,
    latest: u64,
    /// Commit ids of the aggregate that is being read.
    commits: HashSet<u64>,
    /// The payload that should be there; kept for its memory.
    wanted: Vec<u8>,
    findings: Findings,
}

impl<'a> Check<'a> {
    pub(crate) fn new(
        ledger: &'a Ledger,
        payloads: &'a Payloads,
        keys: &'a [AggregateKey],
    ) -> Self {
        let mut check = Check {
            ledger,
            payloads,
            keys,
            places: vec![Vec::new(); keys.len()],
            found: ledger.iter().map(|book| vec![Found::default(); book.entries.len()]).collect(),
            aggregate: 0,
            latest: 0,
            commits: HashSet::new(),
            wanted: Vec::new(),
            findings: Findings::default(),
        };
        check.learn_places();
        check
    }

    fn learn_places(&mut self) {
        let ledger = self.ledger;
        let appends: usize = ledger.iter().map(|book| book.entries.len()).sum();
        for (origin, entry) in entries(ledger) {
            if entry.fate != Fate::Committed {
                continue;
            }
            self.findings.answered += 1;
            let Some(places) = self.places.get_mut(entry.aggregate as usize) else { continue };
            // One event an append, so no sequence can be beyond their number.
            let Some(index) = index_of(entry.sequence).filter(|index| *index < appends) else {
                let told = named(self.keys, origin, entry);
                self.findings.tell("place", || format!("{told} cannot be"));
                continue;
            };
            if places.len() <= index {
                places.resize(index + 1, None);
            }
            if let Some(place) = places.get_mut(index)
                && let Some(other) = place.replace(origin)
            {
                let (told, other) = (named(self.keys, origin, entry), owner(other));
                self.findings.tell("place", || format!("{told} was told to {other} too"));
            }
        }
    }

    /// The events that follow are this aggregate's.
    pub(crate) fn begin(&mut self, aggregate: usize) {
        self.aggregate = aggregate;
        self.latest = 0;
        self.commits.clear();
    }

    /// How many events were read so far.
    pub(crate) fn events(&self) -> u64 {
        self.findings.events
    }

    /// How many appends were answered as committed.
    pub(crate) fn answered(&self) -> u64 {
        self.findings.answered
    }

    /// The aggregate's next event.
    pub(crate) fn event(&mut self, event: &KeyedEvent) {
        self.findings.events += 1;
        let sequence = event.sequence.get();
        if sequence <= self.latest {
            self.findings.duplicates += 1;
            let latest = self.latest;
            let key = &event.key;
            let text = || format!("{key} sequence {sequence} follows {latest}");
            self.findings.tell("duplicate", text);
            return;
        }
        let skipped = sequence - self.latest - 1;
        if skipped > 0 {
            self.findings.gaps += skipped;
            let (key, latest) = (&event.key, self.latest);
            let text = || format!("{key} sequence {latest} is followed by {sequence}");
            self.findings.tell("gap", text);
        }
        self.latest = sequence;

        let place = self.places.get(self.aggregate).zip(index_of(sequence));
        let told = place.and_then(|(places, index)| *places.get(index)?);
        match told {
            Some(told) if self.is_payload_of(event, told) => self.in_place(event, told),
            _ => self.not_as_told(event, told),
        }
    }

    /// What the appends answered for this aggregate come to.
    pub(crate) fn tally_of(&self, aggregate: usize) -> Tally {
        let mut tally = Tally::default();
        for (origin, entry) in entries(self.ledger) {
            if entry.aggregate as usize == aggregate && entry.fate == Fate::Committed {
                tally.count(origin);
            }
        }
        tally
    }

    /// An event of an aggregate that nobody writes to.
    pub(crate) fn stray(&mut self, event: &KeyedEvent) {
        self.findings.events += 1;
        self.unasked(event);
    }

    /// The store does not list this aggregate, and it has events.
    pub(crate) fn unlisted(&mut self, key: &AggregateKey) {
        self.findings.unlisted += 1;
        self.findings.tell("unlisted", || format!("{key} has events, and is not listed"));
    }

    /// Not everything can be read.
    pub(crate) fn unreadable(&mut self, why: String) {
        self.findings.unreadable = Some(why);
    }

    fn is_payload_of(&mut self, event: &KeyedEvent, origin: Origin) -> bool {
        self.payloads.write(origin, &mut self.wanted);
        event.event_type() == EVENT_TYPE && event.data.as_bytes() == self.wanted
    }

    fn in_place(&mut self, event: &KeyedEvent, told: Origin) {
        let Some(entry) = entry(self.ledger, told) else { return };
        let (id, commit) = (event.commit_id, lower_half(event.commit_id));
        let place = || named(self.keys, told, entry);
        if let Some(found) = found(&mut self.found, told) {
            found.in_place = commit == entry.commit;
            found.altered = !found.in_place;
        }
        if commit != entry.commit {
            self.findings
                .tell("altered", || format!("{} carries another commit id: {id}", place()));
        } else if !self.commits.insert(commit) {
            self.findings.duplicates += 1;
            let text = || format!("{} carries a commit id that is there already: {id}", place());
            self.findings.tell("duplicate", text);
        }
    }

    /// Something stands where something else was told to be, or nothing.
    fn not_as_told(&mut self, event: &KeyedEvent, told: Option<Origin>) {
        let claimed = Payloads::origin(event.data.as_bytes())
            .filter(|claimed| entry(self.ledger, *claimed).is_some())
            .filter(|claimed| self.is_payload_of(event, *claimed));
        let told = told.and_then(|told| Some((told, entry(self.ledger, told)?)));
        match (claimed, told) {
            (Some(claimed), _) => {
                if let Some(found) = found(&mut self.found, claimed) {
                    found.elsewhere = found.elsewhere.saturating_add(1);
                }
                if let Some((told, entry)) = told {
                    let place = named(self.keys, told, entry);
                    let text = || format!("{place} holds {} instead", owner(claimed));
                    self.findings.tell("misplaced", text);
                }
            }
            (None, Some((told, entry))) => {
                if let Some(found) = found(&mut self.found, told) {
                    found.altered = true;
                }
                let (place, data) = (named(self.keys, told, entry), short(event.data.as_str()));
                self.findings.tell("altered", || format!("{place} holds other content: {data}"));
            }
            (None, None) => self.unasked(event),
        }
    }

    fn unasked(&mut self, event: &KeyedEvent) {
        self.findings.unasked += 1;
        let (key, sequence, data) = (&event.key, event.sequence, short(event.data.as_str()));
        self.findings
            .tell("unasked", || format!("{key} sequence {sequence} was told to nobody: {data}"));
    }

    /// Everything was read.
    pub(crate) fn finish(mut self) -> Findings {
        let findings = &mut self.findings;
        for (origin, entry) in entries(self.ledger) {
            let Some(found) = found(&mut self.found, origin) else { continue };
            let elsewhere = u64::from(found.elsewhere);
            let place = || named(self.keys, origin, entry);
            match entry.fate {
                Fate::Committed if found.in_place || found.altered => {
                    findings.altered += u64::from(found.altered);
                    findings.duplicates += elsewhere;
                    if elsewhere > 0 {
                        findings.tell("duplicate", || format!("{} is there once more", place()));
                    }
                }
                Fate::Committed if elsewhere > 0 => {
                    findings.misplaced += 1;
                    findings.duplicates += elsewhere - 1;
                    findings.tell("misplaced", || format!("{} stands elsewhere", place()));
                }
                Fate::Committed => {
                    findings.missing += 1;
                    findings.tell("missing", || format!("{} is not there", place()));
                }
                Fate::Indeterminate if elsewhere > 0 => {
                    findings.indeterminate_found += 1;
                    findings.duplicates += elsewhere - 1;
                    if elsewhere > 1 {
                        let text = || format!("{}, left open, is there twice", owner(origin));
                        findings.tell("duplicate", text);
                    }
                }
                Fate::Indeterminate => findings.indeterminate_absent += 1,
                Fate::NotWritten if elsewhere > 0 => {
                    findings.unasked += elsewhere;
                    let text = || format!("{}, not committed, is there", owner(origin));
                    findings.tell("unasked", text);
                }
                Fate::NotWritten => {}
            }
        }
        self.findings
    }
}

fn index_of(sequence: u64) -> Option<usize> {
    usize::try_from(sequence.checked_sub(1)?).ok()
}

fn entry(ledger: &Ledger, origin: Origin) -> Option<&Entry> {
    ledger.get(origin.writer as usize)?.entries.get(origin.counter as usize)
}

fn found(found: &mut [Vec<Found>], origin: Origin) -> Option<&mut Found> {
    found.get_mut(origin.writer as usize)?.get_mut(origin.counter as usize)
}

fn entries(ledger: &Ledger) -> impl Iterator<Item = (Origin, &Entry)> {
    ledger.iter().flat_map(|book| {
        let origins = (0u32..).map(|counter| Origin { writer: book.writer, counter });
        origins.zip(&book.entries)
    })
}

fn owner(origin: Origin) -> String {
    format!("append {} of writer {}", origin.counter, origin.writer)
}

/// The place that was told, and to whom.
fn named(keys: &[AggregateKey], origin: Origin, entry: &Entry) -> String {
    let key = keys.get(entry.aggregate as usize).map_or("?", AggregateKey::as_str);
    format!("{key} sequence {} ({})", entry.sequence, owner(origin))
}

fn short(data: &str) -> String {
    let mut start: String = data.chars().take(60).collect();
    if start.len() < data.len() {
        start.push('…');
    }
    start
}

#[cfg(test)]
mod tests;

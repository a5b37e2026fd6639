//! Decides which of the waiting appends and commands go into the next put.
//!
//! Pure: from a queue and the known facts it computes a put, answers, and at most one question to
//! the driver. Mail is taken strictly in order, against a running tail that includes the put's
//! earlier appends. What follows from durable facts alone is answered at once; what rests on an
//! append of this put is held until the put is settled.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::commit_window::CommitWindow;
use super::driver_question::DriverQuestion;
use super::entity_state::{CommandAnswer, EntityState};
use super::slot::{
    BatchItem, BatchItems, CommandOutcome, HeldRefusal, Mail, MailAnswer, MailQueue,
};
use crate::driver::Limits;
use crate::error::AppendError;
use crate::event::{Sequence, Timestamp};
use crate::user_code;

/// What decisions rest on.
pub(super) struct Grounds<'a> {
    /// The latest sequence known to be durable.
    pub(super) latest: Sequence,
    /// Whether the driver confirmed `latest`, so that it may be built on even if no writer named
    /// it.
    pub(super) is_latest_confirmed: bool,
    pub(super) window: Option<&'a CommitWindow>,
    pub(super) limits: &'a Limits,
    /// Whether a state that folds raw events before they are stored equals the state that is loaded
    /// afterwards. An upcaster sees the time, which only the driver knows.
    pub(super) folds_raw_events: bool,
    /// The moment of the decision.
    pub(super) now: Instant,
    pub(super) put_deadline: Duration,
    /// Whether no other store writes this aggregate, so that a state cannot be behind.
    pub(super) is_exclusive: bool,
    /// One append per put, because the driver refused them together.
    pub(super) alone: bool,
}

/// What was decided: the next put and what can be answered.
#[derive(Default)]
pub(super) struct PutPlan {
    /// The put's appends, and what rests on them; in order.
    pub(super) items: BatchItems,
    /// What is answered at once.
    pub(super) answers: Vec<(Mail, MailAnswer)>,
    /// What must be asked before the first waiting append can be decided.
    pub(super) question: Option<DriverQuestion>,
}

/// Takes from the front of `queue` what the next put can hold. The entity's state, if there is one,
/// is at the latest durable sequence or behind it, and the put's events are folded into it.
pub(super) fn decide(
    queue: &mut MailQueue,
    grounds: &Grounds<'_>,
    entity: &mut Option<Box<EntityState>>,
) -> PutPlan {
    let mut decided = PutPlan::default();
    let mut running = RunningTail::after(grounds.latest);
    while let Some(mail) = queue.front_mut() {
        let verdict = match mail.command() {
            None if mail.has_closure() => closure_verdict(mail, &running, grounds),
            None => verdict(mail, &mut running, grounds, &decided.items),
            Some(_) => command_verdict(mail, &mut running, grounds, entity, &decided.items),
        };
        debug_assert!(running.events == 0 || !decided.items.is_empty(), "a put without appends");
        // If this mail must wait, everything behind it waits too.
        let question = match verdict {
            Verdict::Ask(question) => Some(question),
            Verdict::Wait => None,
            _ => {
                let Some(mail) = queue.pop_front() else { break };
                decided.take(mail, verdict, &mut running, grounds, entity);
                continue;
            }
        };
        // The put is sent first, so that it does not wait for the driver's reply.
        if running.events == 0 {
            decided.question = question;
        }
        break;
    }
    decided
}

/// The aggregate's tail as it will be when the put is durable.
struct RunningTail {
    latest: Sequence,
    events: usize,
    bytes: usize,
    /// The index of each accepted append among the items, for the items that were looked at.
    indexes: HashMap<Uuid, usize>,
    looked_at: usize,
}

impl RunningTail {
    fn after(latest: Sequence) -> Self {
        RunningTail { latest, events: 0, bytes: 0, indexes: HashMap::new(), looked_at: 0 }
    }

    fn fits(&self, mail: &Mail, grounds: &Grounds<'_>) -> bool {
        self.events == 0
            || (self.events + mail.append.events.len() <= grounds.limits.events_per_put
                && self.bytes + mail.append.size_bytes <= grounds.limits.bytes_per_put
                && !grounds.alone)
    }

    /// The accepted append of this put that has the same commit id, and whether its content is the
    /// same too.
    fn in_this_put(&mut self, mail: &Mail, items: &[BatchItem]) -> Option<(usize, bool)> {
        for (place, item) in items.iter().enumerate().skip(self.looked_at) {
            if let BatchItem::Accepted { mail, .. } = item {
                self.indexes.entry(mail.append.commit_id).or_insert(place);
            }
        }
        self.looked_at = items.len();
        let place = *self.indexes.get(&mail.append.commit_id)?;
        match items.get(place) {
            Some(BatchItem::Accepted { mail: accepted, .. }) => {
                Some((place, accepted.append.same_content(&mail.append)))
            }
            _ => None,
        }
    }
}

impl PutPlan {
    fn take(
        &mut self,
        mail: Mail,
        verdict: Verdict,
        running: &mut RunningTail,
        grounds: &Grounds<'_>,
        entity: &mut Option<Box<EntityState>>,
    ) {
        match verdict {
            Verdict::Accept => {
                let first = running.latest.next();
                if grounds.folds_raw_events {
                    fold_along(&mail, first, entity);
                }
                running.events += mail.append.events.len();
                running.bytes += mail.append.size_bytes;
                running.latest = running.latest.plus(mail.append.len());
                self.items.push(BatchItem::Accepted { mail, first });
            }
            Verdict::Answer(answer) => self.answers.push((mail, MailAnswer::Append(Err(answer)))),
            Verdict::AnswerCommand(answer) => {
                self.answers.push((mail, MailAnswer::Command(answer)))
            }
            Verdict::Repeats(of) => self.items.push(BatchItem::Repetition { mail, of }),
            Verdict::Hold(because) => self.items.push(BatchItem::Refused { mail, because }),
            Verdict::Ask(_) | Verdict::Wait => {}
        }
    }
}

/// Folds an accepted append of raw events into the entity's state, so that the next command needs
/// no read. A state that cannot take them is dropped; the next command's load reports why.
fn fold_along(mail: &Mail, first: Sequence, entity: &mut Option<Box<EntityState>>) {
    if mail.command().is_some() {
        return;
    }
    // A state that is behind stays correct, and catches up when it is needed.
    let Some(folding) = entity.as_mut().filter(|entity| entity.at.next() == first) else { return };
    let append = &mail.append;
    for (offset, event) in append.events.iter().enumerate() {
        let sequence = first.plus(offset as u64);
        let event = event.place(&append.key, sequence, append.commit_id, Timestamp::default());
        if folding.fold(event).is_err() {
            *entity = None;
            return;
        }
    }
}

enum Verdict {
    Accept,
    Answer(AppendError),
    AnswerCommand(CommandAnswer),
    Repeats(usize),
    Hold(HeldRefusal),
    Ask(DriverQuestion),
    /// Not in this put.
    Wait,
}

fn waited_too_long(mail: &Mail, grounds: &Grounds<'_>) -> Option<Verdict> {
    (grounds.now.duration_since(mail.since) > grounds.put_deadline).then(|| {
        let (key, deadline) = (mail.append.key.clone(), grounds.put_deadline);
        Verdict::Answer(AppendError::Timeout { key, deadline })
    })
}

fn verdict(
    mail: &Mail,
    running: &mut RunningTail,
    grounds: &Grounds<'_>,
    items: &[BatchItem],
) -> Verdict {
    let append = &mail.append;
    if let Some(too_late) = waited_too_long(mail, grounds) {
        return too_late;
    }
    let accept = if running.fits(mail, grounds) { Verdict::Accept } else { Verdict::Wait };
    if append.own_commit_id
        && let Some((of, same)) = running.in_this_put(mail, items)
    {
        return if same {
            Verdict::Repeats(of)
        } else {
            Verdict::Hold(HeldRefusal::CommitIdReused)
        };
    }
    let commit_id = append.commit_id;
    let whose =
        |after| Verdict::Ask(DriverQuestion::Whose { commit_id, after, events: append.len() });
    let key = || append.key.clone();
    let Some(expected) = append.expected.exact() else {
        return match grounds.window.filter(|window| window.latest == grounds.latest) {
            _ if !append.own_commit_id && grounds.is_latest_confirmed => accept,
            _ if !append.own_commit_id => Verdict::Ask(DriverQuestion::Latest),
            None => Verdict::Ask(DriverQuestion::Window),
            Some(window) => match window.behind(append.commit_id, append.len()) {
                Some(after) => whose(after),
                None => accept,
            },
        };
    };
    if expected == running.latest {
        accept
    } else if expected > running.latest {
        Verdict::Ask(DriverQuestion::Has(expected))
    } else if expected >= grounds.latest {
        // After `expected` comes another append of this put.
        Verdict::Hold(HeldRefusal::Conflict)
    } else if append.own_commit_id {
        whose(expected)
    } else {
        Verdict::Answer(AppendError::Conflict {
            key: key(),
            expected: append.expected,
            actual: grounds.latest,
        })
    }
}

/// Like [`verdict`], for an append that is decided here, on the running tail.
fn closure_verdict(mail: &mut Mail, running: &RunningTail, grounds: &Grounds<'_>) -> Verdict {
    if let Some(too_late) = waited_too_long(mail, grounds) {
        return too_late;
    }
    if !grounds.is_latest_confirmed {
        return Verdict::Ask(DriverQuestion::Latest);
    }
    let refused = match mail.decide_after(running.latest) {
        CommandOutcome::Events => match grounds.limits.check_append(&mail.append) {
            Ok(()) if running.fits(mail, grounds) => return Verdict::Accept,
            Ok(()) => return Verdict::Wait,
            Err(exceeded) => AppendError::TooLarge { key: mail.append.key.clone(), exceeded },
        },
        CommandOutcome::Refused(error) => error,
        CommandOutcome::Nothing | CommandOutcome::Unexpected | CommandOutcome::Panicked => {
            AppendError::Panicked { key: mail.append.key.clone() }
        }
    };
    if running.events > 0 {
        // The refusal would rest on events of this put.
        return Verdict::Wait;
    }
    if !mail.up_to_date && !grounds.is_exclusive {
        // Nor must it rest on a sequence that another store has outgrown.
        return Verdict::Ask(DriverQuestion::Latest);
    }
    Verdict::Answer(refused)
}

/// Like [`verdict`], for a command. If nothing else prevents it, the command is decided here, on a
/// state that includes the put so far.
fn command_verdict(
    mail: &mut Mail,
    running: &mut RunningTail,
    grounds: &Grounds<'_>,
    entity: &mut Option<Box<EntityState>>,
    items: &[BatchItem],
) -> Verdict {
    if let Some(too_late) = waited_too_long(mail, grounds) {
        return too_late;
    }
    if mail.append.own_commit_id {
        if running.in_this_put(mail, items).is_some() {
            return Verdict::Wait;
        }
        match grounds.window.filter(|window| window.latest == grounds.latest) {
            None => return Verdict::Ask(DriverQuestion::Window),
            Some(window) => {
                let commit_id = mail.append.commit_id;
                if let Some((after, events)) = window.whole(commit_id, grounds.limits) {
                    return Verdict::Ask(DriverQuestion::Whose { commit_id, after, events });
                }
            }
        }
    }
    match decide_on_state(mail, running, grounds, entity) {
        // The answer would rest on events of this put. The command is decided again on the
        // durable state, when the put is settled.
        Verdict::Answer(_) | Verdict::AnswerCommand(_) if running.events > 0 => Verdict::Wait,
        verdict => verdict,
    }
}

/// What the command decides on the state at the running tail.
fn decide_on_state(
    mail: &mut Mail,
    running: &RunningTail,
    grounds: &Grounds<'_>,
    entity: &mut Option<Box<EntityState>>,
) -> Verdict {
    let Some(folded) = entity.as_mut().filter(|entity| entity.at == running.latest) else {
        return Verdict::Ask(DriverQuestion::State);
    };
    match mail.decide_on(&*folded.state) {
        // A rejection must not rest on a state that another store has outgrown, and a command with
        // a commit id of the caller's own may have been executed by another store.
        CommandOutcome::Nothing
            if !mail.up_to_date && (mail.append.own_commit_id || !grounds.is_exclusive) =>
        {
            Verdict::Ask(DriverQuestion::Latest)
        }
        CommandOutcome::Unexpected => Verdict::Ask(DriverQuestion::Latest),
        CommandOutcome::Nothing if running.events == 0 => {
            Verdict::AnswerCommand(CommandAnswer::Nothing(folded.at))
        }
        CommandOutcome::Nothing => Verdict::Hold(HeldRefusal::Nothing(folded.at)),
        CommandOutcome::Refused(error) => Verdict::Answer(error),
        CommandOutcome::Panicked => {
            *entity = None;
            Verdict::AnswerCommand(CommandAnswer::Panicked)
        }
        CommandOutcome::Events => {
            if let Err(exceeded) = grounds.limits.check_append(&mail.append) {
                let key = mail.append.key.clone();
                return Verdict::Answer(AppendError::TooLarge { key, exceeded });
            }
            if !running.fits(mail, grounds) {
                return Verdict::Wait;
            }
            let state = &mut *folded.state;
            let applied = user_code::call(|| {
                if let Some(command) = mail.command() {
                    command.apply(state);
                }
            });
            if applied.is_err() {
                *entity = None;
                return Verdict::AnswerCommand(CommandAnswer::Panicked);
            }
            folded.at = folded.at.plus(mail.append.len());
            folded.grows_by(mail.append.size_bytes);
            Verdict::Accept
        }
    }
}

//! Which of the appends that wait go into the next put.
//!
//! Pure: from a queue and what is known to a put, answers, and at most one question to the driver. The
//! appends are taken strictly in order, against a running tail that includes the put's earlier ones.
//! What can be said from durable knowledge alone is said at once; what rests on an append of this put
//! is held until the put has settled.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use uuid::Uuid;

use super::entity::{CommandAnswer, Entity};
use super::mail::{self, Answer, Mail, Said};
use super::queue::Queue;
use super::window::Window;
use crate::append::Appended;
use crate::driver::Limits;
use crate::error::AppendError;
use crate::event::{KeyedEvent, Sequence, Timestamp};

/// What decisions rest on.
pub(super) struct Grounds<'a> {
    /// The latest sequence known to be durable.
    pub(super) latest: Sequence,
    /// Whether `latest` may be built upon although no writer named it.
    pub(super) learned: bool,
    pub(super) window: Option<&'a Window>,
    pub(super) limits: &'a Limits,
    /// The moment of the decision.
    pub(super) now: Instant,
    pub(super) put_deadline: Duration,
    /// One append, one put: the driver refused them together.
    pub(super) alone: bool,
}

/// What was decided.
#[derive(Default)]
pub(super) struct Decided {
    /// The put's appends, and what rests on them; in order.
    pub(super) items: Items,
    /// What could be said at once.
    pub(super) answers: Vec<(Mail, Said)>,
    /// What must be asked before the first append still waiting can be decided.
    pub(super) question: Option<Question>,
}

/// The mails of a put. One is the rule, and stands in its place: another thread would free what it stands in.
pub(super) type Items = SmallVec<[Item; 1]>;

/// One mail of a put.
pub(super) enum Item {
    /// Its events are in the put, from this sequence on.
    Accepted { mail: Mail, first: Sequence },
    /// A repetition of the accepted append that stands at this place among the items.
    Repetition { mail: Mail, of: usize },
    /// Refused because of an append of the put: true only if the put is.
    Refused { mail: Mail, because: Refusal },
}

impl Item {
    pub(super) fn mail_mut(&mut self) -> &mut Mail {
        match self {
            Item::Accepted { mail, .. }
            | Item::Repetition { mail, .. }
            | Item::Refused { mail, .. } => mail,
        }
    }

    pub(super) fn into_mail(self) -> Mail {
        match self {
            Item::Accepted { mail, .. }
            | Item::Repetition { mail, .. }
            | Item::Refused { mail, .. } => mail,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Refusal {
    Conflict,
    CommitIdReused,
    /// A command with nothing to append, decided on a state of this sequence.
    Nothing(Sequence),
}

/// What only the driver can say. It concerns the first append of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The writer expects more than is known: did another process write?
    Has(Sequence),
    /// Nobody named a sequence: what is the latest?
    Latest,
    /// Whose are the events behind this sequence?
    Whose { after: Sequence, events: u64 },
    /// The latest commit ids.
    Window,
    /// The state that the first command is to be decided on.
    State,
}

/// Takes from the front of `queue` what the next put can hold. The entity's state, if there is one, stands
/// at what is known to be durable, and is folded along with the put.
pub(super) fn decide(
    queue: &mut Queue,
    grounds: &Grounds<'_>,
    entity: &mut Option<Box<Entity>>,
) -> Decided {
    let mut decided = Decided::default();
    let mut running = Running::after(grounds.latest);
    while let Some(mail) = queue.front_mut() {
        let verdict = match mail.command() {
            None => verdict(mail, &mut running, grounds, &decided.items),
            Some(_) => command_verdict(mail, &mut running, grounds, entity, &decided.items),
        };
        // What must wait, waits with everything behind it.
        let question = match verdict {
            Verdict::Ask(question) => Some(question),
            Verdict::Wait => None,
            _ => {
                let Some(mail) = queue.pop_front() else { break };
                decided.take(mail, verdict, &mut running, entity);
                continue;
            }
        };
        // First the put, so that what is in it need not wait for the answer.
        if running.events == 0 {
            decided.question = question;
        }
        break;
    }
    decided
}

/// The tail as it will be when the put is durable.
struct Running {
    latest: Sequence,
    events: usize,
    bytes: usize,
    /// Where among the items the accepted appends stand, for as many items as were looked at.
    places: HashMap<Uuid, usize>,
    looked_at: usize,
}

impl Running {
    fn after(latest: Sequence) -> Self {
        Running { latest, events: 0, bytes: 0, places: HashMap::new(), looked_at: 0 }
    }

    fn fits(&self, mail: &Mail, grounds: &Grounds<'_>) -> bool {
        self.events == 0
            || (self.events + mail.append.events.len() <= grounds.limits.events_per_put
                && self.bytes + mail.append.size_bytes <= grounds.limits.bytes_per_put
                && !grounds.alone)
    }

    /// Whether an accepted append of this put has the same commit id: which one, and whether its content
    /// is the same too.
    fn in_this_put(&mut self, mail: &Mail, items: &[Item]) -> Option<(usize, bool)> {
        for (place, item) in items.iter().enumerate().skip(self.looked_at) {
            if let Item::Accepted { mail, .. } = item {
                self.places.entry(mail.append.commit_id).or_insert(place);
            }
        }
        self.looked_at = items.len();
        let place = *self.places.get(&mail.append.commit_id)?;
        match items.get(place) {
            Some(Item::Accepted { mail: accepted, .. }) => {
                Some((place, accepted.append.same_content(&mail.append)))
            }
            _ => None,
        }
    }
}

impl Decided {
    fn take(
        &mut self,
        mail: Mail,
        verdict: Verdict,
        running: &mut Running,
        entity: &mut Option<Box<Entity>>,
    ) {
        match verdict {
            Verdict::Accept => {
                let first = running.latest.next();
                fold_along(&mail, first, entity);
                running.events += mail.append.events.len();
                running.bytes += mail.append.size_bytes;
                running.latest = running.latest.plus(mail.append.len());
                self.items.push(Item::Accepted { mail, first });
            }
            Verdict::Answer(answer) => self.answers.push((mail, Said::Append(Err(answer)))),
            Verdict::AnswerCommand(answer) => self.answers.push((mail, Said::Command(answer))),
            Verdict::Repeats(of) => self.items.push(Item::Repetition { mail, of }),
            Verdict::Hold(because) => self.items.push(Item::Refused { mail, because }),
            Verdict::Ask(_) | Verdict::Wait => {}
        }
    }
}

/// Folds an accepted append of raw events into the entity's state, so that the next command needs no
/// read. A state that cannot take them is given up; the next command's load will say why.
fn fold_along(mail: &Mail, first: Sequence, entity: &mut Option<Box<Entity>>) {
    if mail.command().is_some() {
        return;
    }
    // A state that is behind stays a true one, and catches up when it is needed.
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
    Hold(Refusal),
    Ask(Question),
    /// Not in this put.
    Wait,
}

fn waited_too_long(mail: &Mail, grounds: &Grounds<'_>) -> Option<Verdict> {
    (grounds.now.duration_since(mail.since) > grounds.put_deadline).then(|| {
        let (key, deadline) = (mail.append.key.clone(), grounds.put_deadline);
        Verdict::Answer(AppendError::Timeout { key, deadline })
    })
}

fn verdict(mail: &Mail, running: &mut Running, grounds: &Grounds<'_>, items: &[Item]) -> Verdict {
    let append = &mail.append;
    if let Some(too_late) = waited_too_long(mail, grounds) {
        return too_late;
    }
    let accept = if running.fits(mail, grounds) { Verdict::Accept } else { Verdict::Wait };
    if append.own_commit_id
        && let Some((of, same)) = running.in_this_put(mail, items)
    {
        return if same { Verdict::Repeats(of) } else { Verdict::Hold(Refusal::CommitIdReused) };
    }
    let whose = |after| Verdict::Ask(Question::Whose { after, events: append.len() });
    let key = || append.key.clone();
    let Some(expected) = append.expected.exact() else {
        return match grounds.window.filter(|window| window.latest == grounds.latest) {
            _ if !append.own_commit_id && grounds.learned => accept,
            _ if !append.own_commit_id => Verdict::Ask(Question::Latest),
            None => Verdict::Ask(Question::Window),
            Some(window) => match window.behind(append.commit_id, append.len()) {
                Some(after) => whose(after),
                None => accept,
            },
        };
    };
    if expected == running.latest {
        accept
    } else if expected > running.latest {
        Verdict::Ask(Question::Has(expected))
    } else if expected >= grounds.latest {
        // Behind `expected` stands an append of this put, and not this one.
        Verdict::Hold(Refusal::Conflict)
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

/// Like [`verdict`], for a command: where everything else is right, it is decided here, on a state that
/// includes the put so far.
fn command_verdict(
    mail: &mut Mail,
    running: &mut Running,
    grounds: &Grounds<'_>,
    entity: &mut Option<Box<Entity>>,
    items: &[Item],
) -> Verdict {
    if let Some(too_late) = waited_too_long(mail, grounds) {
        return too_late;
    }
    if mail.append.own_commit_id {
        if running.in_this_put(mail, items).is_some() {
            return Verdict::Wait;
        }
        match grounds.window.filter(|window| window.latest == grounds.latest) {
            None => return Verdict::Ask(Question::Window),
            Some(window) => {
                if let Some((after, events)) = window.whole(mail.append.commit_id, grounds.limits) {
                    return Verdict::Ask(Question::Whose { after, events });
                }
            }
        }
    }
    let Some(folded) = entity.as_mut().filter(|entity| entity.at == running.latest) else {
        return Verdict::Ask(Question::State);
    };
    match mail.decide_on(&*folded.state) {
        mail::Decided::Nothing if mail.append.own_commit_id && !mail.up_to_date => {
            Verdict::Ask(Question::Latest)
        }
        mail::Decided::Unexpected => Verdict::Ask(Question::Latest),
        mail::Decided::Nothing if running.events == 0 => {
            Verdict::AnswerCommand(CommandAnswer::Nothing(folded.at))
        }
        mail::Decided::Nothing => Verdict::Hold(Refusal::Nothing(folded.at)),
        mail::Decided::Refused(error) => Verdict::Answer(error),
        mail::Decided::Panicked => {
            *entity = None;
            Verdict::AnswerCommand(CommandAnswer::Panicked)
        }
        mail::Decided::Events => {
            if let Err(exceeded) = grounds.limits.check_append(&mail.append) {
                let key = mail.append.key.clone();
                return Verdict::Answer(AppendError::TooLarge { key, exceeded });
            }
            if !running.fits(mail, grounds) {
                return Verdict::Wait;
            }
            let state = &mut *folded.state;
            let applied = catch_unwind(AssertUnwindSafe(|| {
                if let Some(command) = mail.command() {
                    command.apply(state);
                }
            }));
            if applied.is_err() {
                *entity = None;
                return Verdict::AnswerCommand(CommandAnswer::Panicked);
            }
            folded.at = folded.at.plus(mail.append.len());
            Verdict::Accept
        }
    }
}

/// What an append is told whose expectation fails, when `events` stand behind its expectation (or where
/// its commit id was last seen), as many as it has and one more.
pub(super) fn repeated_or(mail: &Mail, events: &[KeyedEvent], latest: Sequence) -> Answer {
    let append = &mail.append;
    let key = append.key.clone();
    let own: Vec<&KeyedEvent> =
        events.iter().take_while(|event| event.commit_id == append.commit_id).collect();
    let Some(first) = own.first() else {
        return Err(AppendError::Conflict { key, expected: append.expected, actual: latest });
    };
    let same = own.len() == append.events.len()
        && append.events.iter().zip(&own).all(|(new, stored)| new.same_content(stored));
    if !same {
        return Err(AppendError::CommitIdReused { key, commit_id: append.commit_id });
    }
    Ok(Appended {
        first: first.sequence,
        last: first.sequence.plus(append.len() - 1),
        position: first.position,
        commit_id: append.commit_id,
        repeated: true,
    })
}

/// What a command is told whose commit id was seen before, when its append stands among `events`.
pub(super) fn repeated_command(commit_id: Uuid, events: Vec<KeyedEvent>) -> Option<CommandAnswer> {
    let own: Vec<KeyedEvent> =
        events.into_iter().filter(|event| event.commit_id == commit_id).collect();
    let (first, last) = (own.first()?, own.last()?);
    let appended = Appended {
        first: first.sequence,
        last: last.sequence,
        position: first.position,
        commit_id,
        repeated: true,
    };
    Some(CommandAnswer::Repeated(appended, own))
}

//! Commands beside appends to the same aggregate.

use std::sync::mpsc;

use bytes::Bytes;
use shuttle::thread;

use super::harness::{ModelStore, config, run, search};
use crate::append::Append;
use crate::error::LoadError;
use crate::event::{KeyedEvent, NewEvent, Sequence};
use crate::mailroom::{BoxedCommand, BoxedState, CommandAnswer, Decision};

/// Counts the events that were folded in.
struct CountedEvents(u64);

impl BoxedState for CountedEvents {
    fn apply(&mut self, event: KeyedEvent) -> Result<(), LoadError> {
        self.0 += 1;
        assert_eq!(event.sequence.get(), self.0, "an event is left out or folded twice");
        Ok(())
    }

    fn snapshot_every(&self) -> Option<u64> {
        None
    }

    fn to_snapshot(&self, _: Sequence) -> Option<Bytes> {
        None
    }

    fn restore(&mut self, _: &[u8]) -> Result<Sequence, String> {
        Err("there is none".to_owned())
    }

    fn reset(&mut self) {
        self.0 = 0;
    }

    fn resident_bytes(&self) -> usize {
        8
    }
}

/// Appends an event, unless there are as many already.
struct UpTo {
    most: u64,
    decided_on: u64,
    answer: mpsc::Sender<Answered>,
}

/// The count that a command was decided on, and the sequence it wrote.
type Answered = (u64, Option<Sequence>);

impl BoxedCommand for UpTo {
    fn blank(&self) -> Box<dyn BoxedState> {
        Box::new(CountedEvents(0))
    }

    fn decide(&mut self, state: &dyn BoxedState) -> Decision {
        let state: &dyn std::any::Any = state;
        self.decided_on = state.downcast_ref::<CountedEvents>().unwrap().0;
        match self.decided_on < self.most {
            true => {
                let append = Append::to("a").event(NewEvent::raw("Counted", "{}"));
                Decision::Events(append.check().unwrap().events)
            }
            false => Decision::Nothing,
        }
    }

    fn apply(&self, state: &mut dyn BoxedState) {
        let state: &mut dyn std::any::Any = state;
        state.downcast_mut::<CountedEvents>().unwrap().0 += 1;
    }

    fn answer(self: Box<Self>, answer: CommandAnswer) {
        let written = match answer {
            CommandAnswer::Committed(appended) => Some(appended.first),
            CommandAnswer::Nothing(_) => None,
            CommandAnswer::NotAppended(error) => panic!("{error:?}"),
            _ => panic!("neither written nor nothing"),
        };
        self.answer.send((self.decided_on, written)).unwrap();
    }
}

fn execute(store: &ModelStore, most: u64, answer: &mpsc::Sender<Answered>) {
    store.execute("a", Box::new(UpTo { most, decided_on: 0, answer: answer.clone() }));
}

/// Three commands and two appends, and as many events of another process as told.
fn commands_and_appends(store: &ModelStore, rivals: u64) {
    let (answer, answers) = mpsc::channel();
    let others: Vec<_> = (0..rivals).map(|_| store.rival("a")).collect();
    let appends = store.writer("a", 2);
    let commands: Vec<_> = (0..3)
        .map(|_| {
            let (store, answer) = (store.clone(), answer.clone());
            thread::spawn(move || execute(&store, 3, &answer))
        })
        .collect();
    for command in commands.into_iter().chain(others) {
        command.join().unwrap();
    }
    appends.join().unwrap();
    while store.mailroom().stats().in_flight > 0 {
        thread::yield_now();
    }
    let answers: Vec<Answered> = answers.try_iter().collect();
    assert_eq!(answers.len(), 3, "{answers:?}");
    for (decided_on, written) in &answers {
        match written {
            Some(sequence) => assert_eq!(sequence.get(), decided_on + 1),
            None => assert!(*decided_on >= 3),
        }
    }
    let written = answers.iter().filter(|(_, written)| written.is_some()).count();
    assert_eq!(store.latest("a").get(), 2 + written as u64 + rivals);
}

#[test]
fn a_command_is_decided_on_all_events_before_its_own() {
    search(|| run(config(), |store| commands_and_appends(store, 0)));
}

#[test]
fn a_command_is_decided_again_when_another_process_wrote() {
    search(|| run(config(), |store| commands_and_appends(store, 2)));
}

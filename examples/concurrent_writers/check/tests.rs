//! The check must see what it is there for: each test tampers with a sound history and reads what is
//! found.

use seriatim::{Append, EventStore, KeyedEvent, NewEvent, Sequence};
use uuid::Uuid;

use super::*;
use crate::ledger::Book;

const AGGREGATES: usize = 3;
const APPENDS_EACH: u64 = 5;

struct Run {
    ledger: Ledger,
    payloads: Payloads,
    keys: Vec<AggregateKey>,
    /// By aggregate.
    history: Vec<Vec<KeyedEvent>>,
}

impl Run {
    /// Two writers take turns on three aggregates of a real store.
    async fn new() -> Self {
        let store = EventStore::open("memory:").await.unwrap();
        let payloads = Payloads::new(100);
        let keys: Vec<AggregateKey> =
            (0..AGGREGATES).map(|index| format!("a/{index}").parse().unwrap()).collect();
        let mut ledger: Ledger = vec![Book::new(0), Book::new(1)];
        for turn in 0..APPENDS_EACH {
            for (aggregate, key) in keys.iter().enumerate() {
                let book = &mut ledger[(turn % 2) as usize];
                let origin = book.begin(aggregate);
                let event = NewEvent::raw(EVENT_TYPE, payloads.make(origin));
                let append = Append::to(key).expect(turn).event(event);
                book.committed(origin, &store.append(append).await.unwrap());
            }
        }
        let mut history = Vec::new();
        for key in &keys {
            history.push(store.read(key).collect().await.unwrap());
        }
        Run { ledger, payloads, keys, history }
    }

    fn check(&self) -> Findings {
        let mut check = Check::new(&self.ledger, &self.payloads, &self.keys);
        for (aggregate, events) in self.history.iter().enumerate() {
            check.begin(aggregate);
            events.iter().for_each(|event| check.event(event));
        }
        check.finish()
    }

    /// What was found must be this and nothing else, beside what a sound history has.
    fn must_find(&self, wrong: Findings, word: &str) {
        let found = self.check();
        assert!(!found.is_sound());
        assert!(found.told.iter().any(|(_, text)| text.contains(word)), "{:#?}", found.told);
        let expected = Findings {
            events: found.events,
            answered: AGGREGATES as u64 * APPENDS_EACH,
            told: found.told.clone(),
            ..wrong
        };
        assert_eq!(found, expected);
    }

    /// Gives the aggregate's events the sequences 1, 2, 3 … as if each had been stored so.
    fn renumber(&mut self, aggregate: usize) {
        for (event, sequence) in self.history[aggregate].iter_mut().zip(1..) {
            event.sequence = Sequence::new(sequence);
        }
    }

    /// An append that writer 0 began, and that was stored without its being told so.
    fn stored_untold(&mut self, fate: Fate) -> KeyedEvent {
        let origin = self.ledger[0].begin(1);
        let commit_id = Uuid::now_v7();
        if fate == Fate::Indeterminate {
            self.ledger[0].indeterminate(origin, commit_id);
        }
        let mut event = self.history[1].last().unwrap().clone();
        event.sequence = event.sequence.next();
        event.commit_id = commit_id;
        event.data = seriatim::RawJson::parse(self.payloads.make(origin)).unwrap();
        event
    }
}

#[tokio::test]
async fn a_sound_history_is_found_sound() {
    let found = Run::new().await.check();
    assert!(found.is_sound(), "{:#?}", found.told);
    assert_eq!((found.events, found.answered), (15, 15));
}

#[tokio::test]
async fn an_event_missing_at_the_end_is_lost() {
    let mut run = Run::new().await;
    run.history[1].pop();
    run.must_find(Findings { missing: 1, ..Findings::default() }, "is not there");
}

#[tokio::test]
async fn an_event_missing_in_the_middle_is_lost_and_leaves_a_gap() {
    let mut run = Run::new().await;
    run.history[1].remove(2);
    run.must_find(
        Findings { missing: 1, gaps: 1, ..Findings::default() },
        "sequence 2 is followed by 4",
    );
}

#[tokio::test]
async fn an_event_missing_without_a_gap_misplaces_those_behind_it() {
    let mut run = Run::new().await;
    run.history[1].remove(2);
    run.renumber(1);
    let wrong = Findings { missing: 1, misplaced: 2, ..Findings::default() };
    run.must_find(wrong, "stands elsewhere");
}

#[tokio::test]
async fn a_whole_aggregate_missing_is_lost() {
    let mut run = Run::new().await;
    run.history[2].clear();
    run.must_find(Findings { missing: APPENDS_EACH, ..Findings::default() }, "a/2 sequence 1 ");
}

#[tokio::test]
async fn an_event_that_is_there_twice_is_a_duplicate() {
    let mut run = Run::new().await;
    let again = run.history[0][4].clone();
    run.history[0].push(again);
    run.renumber(0);
    run.must_find(Findings { duplicates: 1, ..Findings::default() }, "once more");
}

#[tokio::test]
async fn an_event_that_is_twice_in_the_middle_displaces_the_rest() {
    let mut run = Run::new().await;
    let again = run.history[0][3].clone();
    run.history[0].insert(3, again);
    run.renumber(0);
    let wrong = Findings { duplicates: 1, misplaced: 1, ..Findings::default() };
    run.must_find(wrong, "once more");
}

#[tokio::test]
async fn a_sequence_that_is_read_twice_is_a_duplicate() {
    let mut run = Run::new().await;
    let again = run.history[0][3].clone();
    run.history[0].insert(4, again);
    run.must_find(Findings { duplicates: 1, ..Findings::default() }, "sequence 4 follows 4");
}

#[tokio::test]
async fn one_commit_id_answered_for_two_appends_is_a_duplicate() {
    let mut run = Run::new().await;
    let commit_id = run.history[0][0].commit_id;
    run.history[0][1].commit_id = commit_id;
    let told = run.ledger[0].entries[0].commit;
    run.ledger[1].entries[0].commit = told;
    run.must_find(
        Findings { duplicates: 1, ..Findings::default() },
        "commit id that is there already",
    );
}

#[tokio::test]
async fn changed_content_is_lost() {
    let mut run = Run::new().await;
    let event = &mut run.history[2][3];
    let changed = event.data.to_string().replace(r#""}"#, r#" "}"#);
    event.data = seriatim::RawJson::parse(changed).unwrap();
    run.must_find(Findings { altered: 1, ..Findings::default() }, "other content");
    assert_eq!(run.check().lost(), 1);
}

#[tokio::test]
async fn another_commit_id_is_lost() {
    let mut run = Run::new().await;
    run.history[2][3].commit_id = Uuid::now_v7();
    run.must_find(Findings { altered: 1, ..Findings::default() }, "another commit id");
}

#[tokio::test]
async fn two_events_that_changed_places_are_both_misplaced() {
    let mut run = Run::new().await;
    run.history[0].swap(1, 2);
    run.renumber(0);
    run.must_find(
        Findings { misplaced: 2, ..Findings::default() },
        "holds append 3 of writer 0 instead",
    );
}

#[tokio::test]
async fn an_event_in_the_wrong_aggregate_is_misplaced() {
    let mut run = Run::new().await;
    let event = run.history[0].pop().unwrap();
    run.history[1].push(event);
    run.renumber(1);
    run.must_find(Findings { misplaced: 1, ..Findings::default() }, "stands elsewhere");
}

#[tokio::test]
async fn an_append_that_was_refused_and_is_there_is_unasked() {
    let mut run = Run::new().await;
    let event = run.stored_untold(Fate::NotWritten);
    run.history[1].push(event);
    run.must_find(Findings { unasked: 1, ..Findings::default() }, "not committed");
}

#[tokio::test]
async fn an_event_that_no_writer_wrote_is_unasked() {
    let mut run = Run::new().await;
    let mut event = run.history[1].last().unwrap().clone();
    event.sequence = event.sequence.next();
    event.data = seriatim::RawJson::parse(r#"{"by":"somebody else"}"#).unwrap();
    run.history[1].push(event);
    run.must_find(Findings { unasked: 1, ..Findings::default() }, "somebody else");
}

#[tokio::test]
async fn one_place_answered_twice_misplaces_both() {
    let mut run = Run::new().await;
    let place = run.ledger[0].entries[0].sequence;
    let last = run.ledger[0].entries.len() - 3;
    run.ledger[0].entries[last].sequence = place;
    run.must_find(Findings { misplaced: 2, ..Findings::default() }, "was told to append");
}

#[tokio::test]
async fn an_append_left_open_may_be_there_once_or_not_at_all() {
    let mut run = Run::new().await;
    let event = run.stored_untold(Fate::Indeterminate);
    let absent = run.check();
    assert!(absent.is_sound(), "{:#?}", absent.told);
    assert_eq!((absent.indeterminate_found, absent.indeterminate_absent), (0, 1));

    run.history[1].push(event.clone());
    let there = run.check();
    assert!(there.is_sound(), "{:#?}", there.told);
    assert_eq!((there.indeterminate_found, there.indeterminate_absent), (1, 0));

    run.history[1].push(event);
    run.renumber(1);
    let wrong = Findings { duplicates: 1, indeterminate_found: 1, ..Findings::default() };
    run.must_find(wrong, "left open, is there twice");
}

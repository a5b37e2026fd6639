//! tephra: a log with an index of tags, and a writer thread of its own that commits in groups.
//!
//! An aggregate is a tag. An append is guarded by "no event with this tag after the position I saw",
//! which is how a store with dynamic consistency boundaries says an exact expectation. Reads run on the
//! caller's thread, as tephra's documentation says.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tephra::{
    AppendCondition, AppendError, Event, EventType, Position, Query, QueryItem, SegmentConfig,
    SegmentSet, Tag, Tags, WriteCoordinator, WriteHandle, WriterConfig,
};

use crate::support::{Contender, Key, Outcome, Payload, Replayed, Seen};

/// As in tephra's own example.
const SEGMENT_BYTES: usize = 256 << 20;

/// The store; what a writer has seen is a position.
#[derive(Clone)]
pub(crate) struct Tephra {
    handle: WriteHandle,
    coordinator: Arc<Mutex<Option<WriteCoordinator>>>,
    event_type: EventType,
}

impl Tephra {
    pub(crate) fn open(directory: &Path) -> Self {
        let set = SegmentSet::open(directory, SegmentConfig::new(SEGMENT_BYTES)).unwrap();
        let (coordinator, handle) = WriteCoordinator::start(set, WriterConfig::default()).unwrap();
        Tephra {
            handle,
            coordinator: Arc::new(Mutex::new(Some(coordinator))),
            event_type: EventType::new("Deposited").unwrap(),
        }
    }
}

fn tags(key: &Key) -> Tags {
    Tags::new([Tag::new(&**key).unwrap()]).unwrap()
}

fn query(tags: Tags) -> Query {
    Query::item(QueryItem::with_tags(tags))
}

impl Contender for Tephra {
    async fn append(&self, key: &Key, seen: Seen, payloads: &'static [Payload]) -> Outcome {
        let tags = tags(key);
        let event =
            |payload: &Payload| Event::new(&self.event_type, &tags, payload.as_bytes()).unwrap();
        let events = payloads.iter().map(event).collect();
        let condition = AppendCondition::new(query(tags)).after(Position::new(seen));
        match self.handle.append_async(events, Some(condition)).await {
            Ok(positions) => Outcome::Appended(positions.last.get()),
            Err(AppendError::Conflict { .. }) => Outcome::Conflict,
            Err(error) => panic!("{error}"),
        }
    }

    async fn replay(&self, key: &Key) -> Replayed {
        let read = self.handle.read(&query(tags(key)), Position::ZERO, None);
        let events = read.collect_owned().unwrap();
        Replayed::count(events.iter().map(|(_, event)| event.data().len()))
    }

    async fn close(self) {
        let coordinator = self.coordinator.lock().unwrap().take();
        if let Some(coordinator) = coordinator {
            coordinator.shutdown();
        }
    }
}

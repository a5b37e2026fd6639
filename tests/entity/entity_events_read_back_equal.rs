//! An event that a command's answer calls durable reads back as the same value, in the next process
//! too. An event that would not is refused before it is written.
//!
//! A zoo of event types: enums in each of serde's forms, types that are no enums, and contents that
//! JSON cannot hold or cannot tell apart.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{
    Aggregate, Append, AppendError, Context, EncodeError, EventError, EventStore, NewEvent,
};

/// Remembers its events by their text, which tells floats apart to the bit.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
struct Seen<E> {
    seen: Vec<String>,
    #[serde(skip)]
    event: PhantomData<fn() -> E>,
}

impl<E> Default for Seen<E> {
    fn default() -> Self {
        Seen { seen: Vec::new(), event: PhantomData }
    }
}

trait Shape: Serialize + DeserializeOwned + Clone + Debug + Send + 'static {}
impl<E: Serialize + DeserializeOwned + Clone + Debug + Send + 'static> Shape for E {}

impl<E: Shape> Aggregate for Seen<E> {
    const KIND: &'static str = "seen";
    /// The events to decide on.
    type Command = Vec<E>;
    type Event = E;
    /// What the resident state has seen.
    type Error = Vec<String>;
    type Services = ();

    fn handle(&self, events: &Vec<E>, _: &Context<'_>) -> Result<Vec<E>, Vec<String>> {
        if events.is_empty() { Err(self.seen.clone()) } else { Ok(events.clone()) }
    }

    fn apply(&mut self, event: &E) {
        self.seen.push(format!("{event:?}"));
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Refused(String),
    Equal,
    Unreadable(String),
    Changed(String),
}

/// Executes a command that decides on this event, and loads the state in a second store over the
/// same data.
async fn fate<E: Shape>(event: E) -> Fate {
    let memory = MemoryDriver::new();
    let open = || EventStore::builder().driver(Arc::new(memory.reopen())).arbiters(1).open();
    let store = open().await.unwrap();
    let entities = store.entities::<Seen<E>>();
    let text = format!("{event:?}");
    let executed = entities.execute("1", vec![event]).await;
    if let Err(error) = executed {
        assert!(!store.exists("seen/1").await.unwrap(), "refused, and written: {error:?}");
        let seriatim::ExecuteError::Append(error) = error else { panic!("{error:?}") };
        return Fate::Refused(error.to_string());
    }
    let resident = entities.execute("1", vec![]).await.map(drop).unwrap_err();
    let seriatim::ExecuteError::Rejected(resident) = resident else { panic!("{resident:?}") };
    store.close().await.unwrap();
    let next = open().await.unwrap();
    let loaded = next.entities::<Seen<E>>().state("1").await.map(|loaded| loaded.state.seen);
    next.close().await.unwrap();
    match loaded {
        Err(error) => Fate::Unreadable(error.to_string()),
        Ok(seen) if seen == [text.clone()] && seen == resident => Fate::Equal,
        Ok(seen) => Fate::Changed(format!("{text} -> {seen:?}, resident {resident:?}")),
    }
}

fn fate_now<E: Shape>(event: E) -> Fate {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(fate(event))
}

/// Each of these is equal when read back: the form is one that is taken.
macro_rules! equal {
    ($test:ident: $($event:expr),+ $(,)?) => {
        #[test]
        fn $test() {
            $(assert_eq!(fate_now($event), Fate::Equal, "{}", stringify!($event));)+
        }
    };
}

/// Each of these is refused, and the message has the words.
macro_rules! refused {
    ($test:ident: $($event:expr => $words:expr),+ $(,)?) => {
        #[test]
        fn $test() {
            $({
                let fate = fate_now($event);
                let Fate::Refused(message) = &fate else {
                    panic!("{}: {fate:?}", stringify!($event))
                };
                for word in $words {
                    assert!(message.contains(word), "{word:?} is not in {message}");
                }
            })+
        }
    };
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Marker;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Inner {
    One,
    Two { x: u8 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum External {
    Unit,
    Empty {},
    EmptyTuple(),
    Newtype(u64),
    Tuple(u8, String),
    Struct {
        a: Option<u8>,
        b: Vec<u8>,
    },
    Nested(Inner),
    Marker(Marker),
    Nothing(()),
    Maybe(Option<u8>),
    MaybeNothing(Option<()>),
    MaybeMaybe(Option<Option<u8>>),
    Any(Value),
    Float(f64),
    Small(f32),
    MaybeFloat(Option<f64>),
    Wide(u128, i128),
    Char(char),
    Map(BTreeMap<u16, String>),
    Unordered(HashMap<String, u8>),
    Set(HashSet<u8>),
    Tree(Tree),
    #[serde(rename = "type")]
    NamedType(u8),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tree(Vec<Tree>);

fn tree(depth: usize) -> Tree {
    (0..depth).fold(Tree(vec![]), |tree, _| Tree(vec![tree]))
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum Adjacent {
    Unit,
    Empty {},
    Newtype(u64),
    Tuple(u8, String),
    Struct { a: Option<u8> },
    Nested(Inner),
    Marker(Marker),
    Nothing(()),
    Maybe(Option<u8>),
    Any(Value),
    Wide(u128),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum OtherNames {
    Closed,
    Deposited(u64),
    Moved { from: u8 },
}

equal!(the_external_form_is_taken:
    External::Unit, External::Empty {}, External::EmptyTuple(), External::Newtype(u64::MAX),
    External::Tuple(1, "\0\u{feff}\u{2028}\u{10ffff}\"\\".into()),
    External::Struct { a: None, b: vec![0, 255] }, External::Nested(Inner::Two { x: 1 }),
    External::Marker(Marker), External::Nothing(()), External::Maybe(None),
    External::Maybe(Some(1)), External::MaybeNothing(None), External::Any(Value::Null),
    External::Any(json!({"type": "x", "data": [1, 2.5, u64::MAX, i64::MIN]})),
    External::Wide(u128::MAX, i128::MIN), External::NamedType(1),
    External::Map(BTreeMap::from([(7, "x".into())])),
);

equal!(the_adjacent_form_is_taken_under_any_names:
    Adjacent::Unit, Adjacent::Empty {}, Adjacent::Newtype(1), Adjacent::Tuple(1, "x".into()),
    Adjacent::Struct { a: None }, Adjacent::Nested(Inner::One), Adjacent::Marker(Marker),
    Adjacent::Nothing(()), Adjacent::Maybe(None), Adjacent::Maybe(Some(2)),
    Adjacent::Any(Value::Null), Adjacent::Any(json!([1])), Adjacent::Wide(u128::MAX),
    OtherNames::Closed, OtherNames::Deposited(1), OtherNames::Moved { from: 1 },
);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(Inner);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Transparent {
    inner: Inner,
}

equal!(a_wrapper_of_an_enum_is_taken:
    Wrapped(Inner::One), Wrapped(Inner::Two { x: 1 }), Transparent { inner: Inner::One },
    Box::new(Inner::Two { x: 1 }), Ok::<u8, String>(1), Err::<u8, String>("x".into()),
);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal {
    Closed,
    Deposited { amount: u64 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum InternalKind {
    Closed,
    Deposited { amount: u64 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Amount { amount: u64 },
    Text(String),
    Enum(Inner),
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Deposited {
    amount: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note(String);

refused!(what_is_no_enum_with_a_name_of_its_own_is_refused_by_its_type:
    Internal::Closed => ["Internal", "tag", "content"],
    Internal::Deposited { amount: 1 } => ["Internal"],
    InternalKind::Closed => ["InternalKind"],
    InternalKind::Deposited { amount: 1 } => ["InternalKind"],
    Untagged::Amount { amount: 1 } => ["Untagged"],
    Untagged::Text("x".into()) => ["Untagged"],
    Untagged::Enum(Inner::One) => ["Untagged"],
    Untagged::Nothing => ["Untagged"],
    Deposited { amount: 1 } => ["Deposited", "struct"],
    Note("x".into()) => ["Note"],
    Marker => ["Marker"],
    "x".to_owned() => ["String"],
    5_u8 => ["u8"],
    Some(Inner::One) => ["Option"],
    None::<Inner> => ["Option"],
    BTreeMap::from([("a".to_owned(), 1_u8)]) => ["BTreeMap", "map"],
    Cow::<'static, str>::Borrowed("x") => ["str"],
    json!({"Opened": {"x": 1}}) => ["Value"],
);

refused!(what_json_cannot_hold_is_refused_by_its_variant:
    External::Float(f64::NAN) => ["External", "Float", "NaN"],
    External::MaybeFloat(Some(f64::INFINITY)) => ["MaybeFloat", "inf"],
    External::Small(f32::NEG_INFINITY) => ["Small", "inf"],
    External::MaybeNothing(Some(())) => ["MaybeNothing", "Option"],
    External::MaybeMaybe(Some(None)) => ["MaybeMaybe", "Option"],
    External::Tree(tree(200)) => ["Tree", "recursion"],
);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct WideInside {
    wide: u128,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Attributes {
    Flattened {
        #[serde(flatten)]
        inner: WideInside,
    },
    FlatMap {
        #[serde(flatten)]
        rest: BTreeMap<String, u128>,
    },
    #[serde(skip_deserializing)]
    WrittenOnly,
    #[serde(rename = "same")]
    First { x: u8 },
    HalfSkipped {
        #[serde(skip_deserializing)]
        lost: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
enum Asymmetric {
    Lengthened(u8),
}

impl<'de> Deserialize<'de> for Asymmetric {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        enum Form {
            Lengthened(u8),
        }
        let Form::Lengthened(n) = Form::deserialize(deserializer)?;
        Ok(Asymmetric::Lengthened(n.saturating_add(1)))
    }
}

refused!(what_reads_back_as_something_else_is_refused:
    Attributes::Flattened { inner: WideInside { wide: u128::MAX } } => ["Flattened"],
    Attributes::FlatMap { rest: BTreeMap::from([("a".into(), u128::MAX)]) } => ["FlatMap"],
    Attributes::WrittenOnly => ["WrittenOnly"],
    Attributes::HalfSkipped { lost: 1 } => ["HalfSkipped"],
    Asymmetric::Lengthened(1) => ["Lengthened"],
);

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..4)
                .prop_map(|map| Value::from_iter(map.into_iter())),
        ]
    })
}

fn inner() -> impl Strategy<Value = Inner> {
    prop_oneof![Just(Inner::One), any::<u8>().prop_map(|x| Inner::Two { x })]
}

fn external() -> impl Strategy<Value = External> {
    prop_oneof![
        any::<u64>().prop_map(External::Newtype),
        (any::<u8>(), ".*").prop_map(|(n, text)| External::Tuple(n, text)),
        (any::<Option<u8>>(), any::<Vec<u8>>()).prop_map(|(a, b)| External::Struct { a, b }),
        inner().prop_map(External::Nested),
        any::<Option<u8>>().prop_map(External::Maybe),
        any::<Option<()>>().prop_map(External::MaybeNothing),
        any::<Option<Option<u8>>>().prop_map(External::MaybeMaybe),
        value().prop_map(External::Any),
        prop::num::f64::ANY.prop_map(External::Float),
        prop::num::f32::ANY.prop_map(External::Small),
        prop::option::of(prop::num::f64::ANY).prop_map(External::MaybeFloat),
        any::<(u128, i128)>().prop_map(|(a, b)| External::Wide(a, b)),
        any::<char>().prop_map(External::Char),
        any::<BTreeMap<u16, String>>().prop_map(External::Map),
        (1_usize..200).prop_map(|depth| External::Tree(tree(depth))),
    ]
}

fn adjacent() -> impl Strategy<Value = Adjacent> {
    prop_oneof![
        any::<u64>().prop_map(Adjacent::Newtype),
        (any::<u8>(), ".*").prop_map(|(n, text)| Adjacent::Tuple(n, text)),
        any::<Option<u8>>().prop_map(|a| Adjacent::Struct { a }),
        inner().prop_map(Adjacent::Nested),
        any::<Option<u8>>().prop_map(Adjacent::Maybe),
        value().prop_map(Adjacent::Any),
        any::<u128>().prop_map(Adjacent::Wide),
    ]
}

fn equal_or_refused<E: Shape>(event: E) -> Result<(), TestCaseError> {
    match fate_now(event) {
        Fate::Equal | Fate::Refused(_) => Ok(()),
        fate => Err(TestCaseError::fail(format!("{fate:?}"))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_external_event_is_equal_or_refused(event in external()) {
        equal_or_refused(event)?;
    }

    #[test]
    fn any_adjacent_event_is_equal_or_refused(event in adjacent()) {
        equal_or_refused(event)?;
    }

    #[test]
    fn any_finite_float_is_equal_to_the_bit(float in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO) {
        prop_assert_eq!(fate_now(External::Float(float)), Fate::Equal);
    }
}

#[test]
fn maps_and_sets_without_an_order_are_taken() {
    let names = (0..50_u8).map(|n| (format!("name {n}"), n));
    let set: HashSet<u8> = (0..50).collect();
    for event in [External::Unordered(names.collect()), External::Set(set)] {
        let fate = fate_now(event);
        // Their text has no order either.
        assert!(matches!(fate, Fate::Equal | Fate::Changed(_)), "{fate:?}");
        if let Fate::Changed(texts) = fate {
            assert!(texts.contains("Unordered") || texts.contains("Set"), "{texts}");
        }
    }
}

#[tokio::test]
async fn the_error_says_which_of_the_events_it_is() {
    let store = EventStore::open("memory:").await.unwrap();
    let events = vec![External::Float(1.5), External::Unit, External::Float(f64::NAN)];
    let error = store.entities::<Seen<External>>().execute("1", events).await.unwrap_err();
    let seriatim::ExecuteError::Append(AppendError::InvalidEvent { index, source, .. }) = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(index, 2);
    assert!(matches!(source, EventError::Encode(EncodeError::Content { .. })), "{source}");
    assert!(!store.exists("seen/1").await.unwrap());
}

#[tokio::test]
async fn an_event_that_somebody_else_wrote_in_another_shape_is_named() {
    let store = EventStore::open("memory:").await.unwrap();
    let raw = NewEvent::raw("Newtype", r#"{"not":"a number"}"#);
    store.append(Append::to("seen/1").event(raw)).await.unwrap();
    let error = store.entities::<Seen<External>>().state("1").await.unwrap_err().to_string();
    for word in ["seen/1", "1", "Newtype"] {
        assert!(error.contains(word), "{error}");
    }
}

//! What differs between two JSON values, told place by place.
//!
//! Values are compared as the text that they were written as, so numbers of any size stay what they
//! are; the order of an object's fields does not count. Work and answer are bounded: large values are
//! not compared, deep ones are compared as wholes, and only so many changes are told.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::text::beginning;

/// Larger values are not compared.
const MAX_BYTES: usize = 64 << 10;
/// Deeper values are compared as wholes.
const MAX_DEPTH: usize = 24;
const MAX_CHANGES: usize = 64;
/// Of a value that is told.
const MAX_SHOWN: usize = 240;

/// The changes from one value to the next.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Changes {
    pub(crate) changes: Vec<Change>,
    /// There are more than are told.
    pub(crate) more: bool,
    /// One of the values is too large to be compared.
    pub(crate) too_large: bool,
}

/// One place, and what stood and stands there.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    /// The place, as a JSON Pointer; empty for the whole value.
    pub(crate) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<String>,
}

impl Changes {
    pub(crate) fn between(before: &str, after: &str) -> Self {
        let mut changes = Changes::default();
        if before.len() > MAX_BYTES || after.len() > MAX_BYTES {
            changes.too_large = before != after;
            return changes;
        }
        let parse = |text| serde_json::from_str::<&RawValue>(text).ok();
        if let (Some(before), Some(after)) = (parse(before), parse(after)) {
            changes.compare(&mut String::new(), 0, before, after);
        }
        changes
    }

    fn compare(&mut self, path: &mut String, depth: usize, before: &RawValue, after: &RawValue) {
        if self.more || before.get() == after.get() {
            return;
        }
        let inside = depth < MAX_DEPTH
            && match (kind(before), kind(after)) {
                (b'{', b'{') => self.objects(path, depth, before, after).is_some(),
                (b'[', b'[') => self.arrays(path, depth, before, after).is_some(),
                // `"a"` and `"\u0061"` are one string.
                (b'"', b'"') => matches!((text(before), text(after)), (Some(a), Some(b)) if a == b),
                _ => false,
            };
        if !inside {
            self.tell(path, Some(before), Some(after));
        }
    }

    /// `None` if one of the two cannot be read.
    fn objects(
        &mut self,
        path: &mut String,
        depth: usize,
        before: &RawValue,
        after: &RawValue,
    ) -> Option<()> {
        let parse = |value: &RawValue| serde_json::from_str(value.get()).ok();
        let before: BTreeMap<String, Box<RawValue>> = parse(before)?;
        let after: BTreeMap<String, Box<RawValue>> = parse(after)?;
        let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
        for name in names {
            let place = name.replace('~', "~0").replace('/', "~1");
            self.at(path, &place, |changes, path| match (before.get(name), after.get(name)) {
                (Some(before), Some(after)) => changes.compare(path, depth + 1, before, after),
                (before, after) => changes.tell(path, before.map(|b| &**b), after.map(|a| &**a)),
            });
        }
        Some(())
    }

    /// What both begin and end with is left out, so that an item that was put in front does not
    /// change all others. `None` if one of the two cannot be read.
    fn arrays(
        &mut self,
        path: &mut String,
        depth: usize,
        before: &RawValue,
        after: &RawValue,
    ) -> Option<()> {
        let before: Vec<&RawValue> = serde_json::from_str(before.get()).ok()?;
        let after: Vec<&RawValue> = serde_json::from_str(after.get()).ok()?;
        let is_same = |(a, b): &(&&RawValue, &&RawValue)| a.get() == b.get();
        let front = before.iter().zip(&after).take_while(is_same).count();
        let (before, after) = (before.get(front..)?, after.get(front..)?);
        let back = before.iter().rev().zip(after.iter().rev()).take_while(is_same).count();
        let before = before.get(..before.len() - back)?;
        let after = after.get(..after.len() - back)?;
        for index in 0..before.len().max(after.len()) {
            let place = (front + index).to_string();
            self.at(path, &place, |changes, path| match (before.get(index), after.get(index)) {
                (Some(before), Some(after)) => changes.compare(path, depth + 1, before, after),
                (before, after) => changes.tell(path, before.copied(), after.copied()),
            });
        }
        Some(())
    }

    fn at(&mut self, path: &mut String, place: &str, act: impl FnOnce(&mut Self, &mut String)) {
        let length = path.len();
        path.push('/');
        path.push_str(place);
        act(self, path);
        path.truncate(length);
    }

    fn tell(&mut self, path: &str, before: Option<&RawValue>, after: Option<&RawValue>) {
        if self.changes.len() == MAX_CHANGES {
            self.more = true;
            return;
        }
        let shown = |value: Option<&RawValue>| value.map(|value| shortened(value.get()));
        let (before, after) = (shown(before), shown(after));
        self.changes.push(Change { path: path.to_owned(), before, after });
    }
}

fn kind(value: &RawValue) -> u8 {
    value.get().as_bytes().first().copied().unwrap_or_default()
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

fn shortened(text: &str) -> String {
    let start = beginning(text, MAX_SHOWN);
    let cut = if start.len() < text.len() { "…" } else { "" };
    format!("{start}{cut}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: &str, after: &str) -> Vec<String> {
        let changes = Changes::between(before, after);
        assert!(!changes.more && !changes.too_large);
        let side = |side: Option<String>| side.unwrap_or("-".to_owned());
        let tell = |c: Change| format!("{}: {} > {}", c.path, side(c.before), side(c.after));
        changes.changes.into_iter().map(tell).collect()
    }

    #[test]
    fn each_place_is_told_with_what_stood_and_stands_there() {
        let before = r#"{"a":1,"b":{"c":[1,2,3],"d":null},"gone":true}"#;
        let after = r#"{ "b": {"c":[1,5,3],"d":null,"new":{}}, "a":1 }"#;
        assert_eq!(told(before, after), ["/b/c/1: 2 > 5", "/b/new: - > {}", "/gone: true > -"]);
        assert_eq!(told(r#"{"a/b~c":1}"#, r#"{"a/b~c":"x"}"#), [r#"/a~1b~0c: 1 > "x""#]);
        assert_eq!(told("1", "[1]"), [": 1 > [1]"]);
    }

    #[test]
    fn numbers_are_compared_as_they_were_written() {
        assert_eq!(
            told(r#"{"n":9007199254740993}"#, r#"{"n":9007199254740992}"#),
            ["/n: 9007199254740993 > 9007199254740992"]
        );
    }

    #[test]
    fn what_only_looks_different_is_no_change() {
        assert_eq!(told(r#"{"a":"\u0061", "b":[ 1 ,2]}"#, r#"{"b":[1,2],"a":"a"}"#), [""; 0]);
    }

    #[test]
    fn an_item_that_is_put_in_or_taken_out_is_one_change() {
        assert_eq!(told("[1,2,3]", "[0,1,2,3]"), ["/0: - > 0"]);
        assert_eq!(told("[1,2,3]", "[1,3]"), ["/1: 2 > -"]);
        assert_eq!(told("[1,1]", "[1,1,1]"), ["/2: - > 1"]);
    }

    #[test]
    fn size_depth_and_number_are_bounded() {
        let large = format!("\"{}\"", "x".repeat(MAX_BYTES));
        assert!(Changes::between(&large, "1").too_large);
        assert!(!Changes::between(&large, &large).too_large);

        let deep = |n: u32| format!("{}{n}{}", "[".repeat(20_000), "]".repeat(20_000));
        let changes = Changes::between(&deep(1), &deep(2)).changes;
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].path, "/0".repeat(MAX_DEPTH));

        let many = |n: u32| format!("[{}]", vec![n.to_string(); 1_000].join(","));
        let changes = Changes::between(&many(1), &many(2));
        assert_eq!((changes.changes.len(), changes.more), (MAX_CHANGES, true));

        let wide = Changes::between("1", &format!("\"{}\"", "é".repeat(1_000))).changes;
        let after = wide[0].after.as_ref().unwrap();
        assert!(after.len() <= MAX_SHOWN + '…'.len_utf8() && after.ends_with('…'));
    }
}

//! Text from a store or a file, made harmless for a terminal.
//!
//! Event content is not trusted. Control characters could move the cursor, retitle the window or
//! forge output; characters that change the direction of writing could make text read as another.
//! Both are shown as escapes. Letters of right-to-left scripts are shown as they are.

use std::borrow::Cow;

/// Characters that a terminal or a reader would take as an instruction.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            // Marks, embeddings, overrides and isolates of direction.
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separators.
            | '\u{2028}' | '\u{2029}'
            // Invisible: zero-width space, byte order mark, interlinear annotations, tags.
            | '\u{200b}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text with every harmful character as `\u{…}`.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c.escape_unicode().collect())
}

/// The same, for messages of several lines.
pub(crate) fn shown_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| match c {
        '\n' => "\n".to_owned(),
        c => c.escape_unicode().collect(),
    })
}

/// JSON text with every harmful character as a JSON escape: the same value. In valid JSON such a
/// character stands inside a string, or is white space between values.
pub(crate) fn shown_json(json: &str) -> Cow<'_, str> {
    escaped(json, |c| match c {
        '\t' | '\n' | '\r' => " ".to_owned(),
        c => {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        }
    })
}

fn escaped(text: &str, escape: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmful(c) {
            safe += &escape(c);
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_an_escape() {
        for (text, safe) in [
            ("plain, żółć, 日本", "plain, żółć, 日本"),
            ("\u{1b}[2J\u{7}", "\\u{1b}[2J\\u{7}"),
            ("c1 \u{9b}31m", "c1 \\u{9b}31m"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("שלום", "שלום"),
            ("tab\tline\n", "tab\\u{9}line\\u{a}"),
        ] {
            assert_eq!(shown(text), safe);
        }
        assert_eq!(shown_lines("one\ntwo\u{1b}"), "one\ntwo\\u{1b}");
    }

    #[test]
    fn escaped_json_is_the_same_value() {
        for json in ["{\"a\": \"\u{9b}31m \u{7f} \u{202e}\u{e0001}\"}", "[1,\t2]", "\"plain\""] {
            let safe = shown_json(json);
            assert!(!safe.contains(is_harmful), "{safe:?}");
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            assert!(value(&safe).is_some());
            assert_eq!(value(&safe), value(json));
        }
    }
}

//! Two texts line by line: what is the same, what is missing, what is too much. And JSON on many
//! lines.

use std::fmt::Write;

/// `expected` and `actual` as one text: lines of both with two spaces in front, those of the first
/// only with `-`, those of the second only with `+`.
pub(super) fn diff(expected: &str, actual: &str) -> String {
    let expected: Vec<&str> = expected.lines().collect();
    let actual: Vec<&str> = actual.lines().collect();
    let longest = common_lengths(&expected, &actual);
    let common = |i: usize, j: usize| longest.get(i).and_then(|row| row.get(j)).unwrap_or(&0);
    let (mut i, mut j) = (0, 0);
    let mut text = String::new();
    loop {
        let (sign, line) = match (expected.get(i), actual.get(j)) {
            (None, None) => return text,
            (Some(line), Some(same)) if line == same => {
                (i, j) = (i + 1, j + 1);
                (' ', line)
            }
            (Some(line), other) if other.is_none() || common(i + 1, j) >= common(i, j + 1) => {
                i += 1;
                ('-', line)
            }
            (_, Some(line)) => {
                j += 1;
                ('+', line)
            }
            (Some(_), None) => return text,
        };
        let _ = writeln!(text, "{sign} {line}");
    }
}

/// How many lines can be kept of the rests of both texts, by where the rests begin.
fn common_lengths(a: &[&str], b: &[&str]) -> Vec<Vec<usize>> {
    let mut rows = vec![vec![0; b.len() + 1]];
    for line in a.iter().rev() {
        let mut row = vec![0];
        if let Some(below) = rows.last() {
            for (other, pair) in b.iter().zip(below.windows(2)).rev() {
                let (skip_a, skip_both) = (pair.first(), pair.last());
                let kept = match line == other {
                    true => skip_both.map_or(0, |n| n + 1),
                    false => skip_a.max(row.last()).copied().unwrap_or(0),
                };
                row.push(kept);
            }
        }
        row.reverse();
        rows.push(row);
    }
    rows.reverse();
    rows
}

/// JSON with a line for each element and field. Everything but white space stays as it is: numbers,
/// above all.
pub(super) fn pretty(json: &str) -> String {
    let mut text = String::new();
    let mut depth = 0;
    let mut in_string = false;
    let mut escaped = false;
    let mut opened = false;
    for character in json.chars() {
        if in_string {
            text.push(character);
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        if character.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(character, '}' | ']');
        if closes {
            depth -= 1;
        }
        if opened != closes {
            new_line(&mut text, depth, opened || closes);
        }
        opened = matches!(character, '{' | '[');
        depth += usize::from(opened);
        in_string = character == '"';
        text.push(character);
        match character {
            ',' => new_line(&mut text, depth, true),
            ':' => text.push(' '),
            _ => {}
        }
    }
    text
}

fn new_line(text: &mut String, depth: usize, wanted: bool) {
    if wanted {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_text_only_are_marked() {
        assert_eq!(diff("a\nb\nc", "a\nx\nc\nd"), "  a\n- b\n+ x\n  c\n+ d\n");
        assert_eq!(diff("", "a"), "+ a\n");
        assert_eq!(diff("a\nb", "b"), "- a\n  b\n");
        assert_eq!(diff("a", "a"), "  a\n");
    }

    #[test]
    fn json_is_broken_into_lines_and_otherwise_untouched() {
        let json =
            r#"{"n":18446744073709551616.10,"s":"a{\"b\":[1,2]}","e":{},"l":[1,[]],"z":null}"#;
        let lines = [
            "{",
            r#"  "n": 18446744073709551616.10,"#,
            r#"  "s": "a{\"b\":[1,2]}","#,
            r#"  "e": {},"#,
            r#"  "l": ["#,
            "    1,",
            "    []",
            "  ],",
            r#"  "z": null"#,
            "}",
        ];
        assert_eq!(pretty(json), lines.join("\n"));
        assert_eq!(pretty("5"), "5");
        assert_eq!(pretty(r#""a b\\""#), r#""a b\\""#);
    }
}

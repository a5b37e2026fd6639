//! What one source file says: its imports, the paths it writes out, and the types it defines.
//! Comments, strings and test modules are left out.

#![allow(unreachable_pub, reason = "a module of a test")]

/// One name that a file imports.
#[derive(Clone, Debug)]
pub struct Import {
    /// As written: `crate::driver::Put`, `super::Slot`, `key::AggregateKey`.
    pub path: Vec<String>,
    /// The name it has here.
    pub name: String,
    /// Whether it is handed on: `pub use`, `pub(crate) use`.
    pub is_re_export: bool,
}

/// The text without comments, strings' contents and test modules.
pub fn code_of(text: &str) -> String {
    without_test_modules(&without_comments(text))
}

fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
        } else if rest.starts_with("r\"") || rest.starts_with("r#\"") {
            let end = if rest.starts_with("r#") { "\"#" } else { "\"" };
            let start = end.len() + 1;
            rest = rest[start..].find(end).map_or("", |at| &rest[start + at + end.len()..]);
            code.push_str("\"\"");
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].char_indices().find(|(_, c)| {
                let ends = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                ends
            });
            rest = end.map_or("", |(at, _)| &rest[at + 2..]);
            code.push_str("\"\"");
        } else if rest.starts_with("'\"'") || rest.starts_with("'{'") || rest.starts_with("'}'") {
            rest = &rest[3..];
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    code
}

fn without_test_modules(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        let item = &rest[at..];
        let (brace, semicolon) = (item.find('{'), item.find(';'));
        rest = match (brace, semicolon) {
            (Some(brace), Some(end)) if brace > end => &item[end + 1..],
            (Some(brace), _) => &item[block_end(item, brace)..],
            (None, Some(end)) => &item[end + 1..],
            (None, None) => "",
        };
    }
    kept + rest
}

fn block_end(text: &str, brace: usize) -> usize {
    let mut depth = 0;
    for (at, c) in text[brace..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return brace + at + 1;
        }
    }
    text.len()
}

/// All `use` declarations, one entry a name.
pub fn imports(code: &str) -> Vec<Import> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = word(rest, "use") {
        let line_start = rest[..at].rfind(['\n', ';', '}', '{']).map_or(0, |start| start + 1);
        let before = rest[line_start..at].trim();
        let is_declaration =
            before.is_empty() || before.starts_with("pub") || before.ends_with(']');
        let body = &rest[at + 3..];
        let end = body.find(';').unwrap_or(body.len());
        if is_declaration {
            let is_re_export = before.split(']').next_back().unwrap_or_default().contains("pub");
            expand(&body[..end], &[], is_re_export, &mut found);
        }
        rest = &body[end..];
    }
    found
}

fn word(text: &str, wanted: &str) -> Option<usize> {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(wanted).map(|(at, _)| at).find(|at| {
        let after = text[at + wanted.len()..].chars().next();
        !is_part(text[..*at].chars().next_back()) && after.is_some_and(char::is_whitespace)
    })
}

fn expand(tree: &str, prefix: &[String], is_re_export: bool, found: &mut Vec<Import>) {
    let tree = tree.trim();
    if let Some(brace) = tree.find('{') {
        let mut path = prefix.to_vec();
        path.extend(segments(tree[..brace].trim_end_matches(':')));
        let inner = &tree[brace + 1..block_end(tree, brace) - 1];
        for part in split_outside_braces(inner) {
            expand(part, &path, is_re_export, found);
        }
    } else if !tree.is_empty() {
        let (tree, alias) = tree.split_once(" as ").map_or((tree, None), |(t, a)| (t, Some(a)));
        let mut path = prefix.to_vec();
        path.extend(segments(tree).filter(|segment| segment != "self"));
        let last = path.last().cloned().unwrap_or_default();
        let name = alias.map_or(last, |alias| alias.trim().to_owned());
        // A path that began with `self::` means this module.
        if tree.starts_with("self::") && prefix.is_empty() {
            path.insert(0, "self".to_owned());
        }
        found.push(Import { path, name, is_re_export });
    }
}

fn segments(path: &str) -> impl Iterator<Item = String> {
    path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty())
}

fn split_outside_braces(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Paths written out in code: `crate::…` and `super::…`.
pub fn written_paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let end = code[at..].find(|c| !is_part(c)).map_or(code.len(), |end| at + end);
            found.push(segments(&code[at..end]).collect());
        }
    }
    found
}

/// The names of the structs, enums, traits, unions and type aliases of a file's top level.
pub fn types(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in code.lines().filter(|line| !line.starts_with([' ', '\t'])) {
        let mut words = line.split_whitespace().peekable();
        words.next_if(|word| word.starts_with("pub"));
        if matches!(words.next(), Some("struct" | "enum" | "trait" | "type" | "union"))
            && let Some(name) = words.next()
        {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            names.push(name[..name.find(|c| !is_part(c)).unwrap_or(name.len())].to_owned());
        }
    }
    names
}

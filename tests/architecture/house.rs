//! All files of `src/`, and the arrows between them: which file imports a name that which other
//! file defines.

#![allow(unreachable_pub, reason = "a module of a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::{self, Import};

/// One import, resolved to the file that defines the name.
#[derive(Clone, Debug)]
pub struct Arrow {
    pub from: String,
    pub to: String,
    pub name: String,
    pub is_re_export: bool,
}

#[derive(Clone)]
struct File {
    text: String,
    code: String,
    imports: Vec<Import>,
}

/// The sources, by path below `src/`.
#[derive(Clone)]
pub struct House {
    files: BTreeMap<String, File>,
    /// Which file a module is.
    modules: BTreeMap<Vec<String>, String>,
}

impl House {
    pub fn of_the_crate() -> Self {
        let mut texts = BTreeMap::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        collect(&root, &root, &mut texts);
        assert!(texts.len() > 50, "the sources were not found: {texts:?}");
        Self::of(texts)
    }

    fn of(texts: BTreeMap<String, String>) -> Self {
        let mut house = House { files: BTreeMap::new(), modules: BTreeMap::new() };
        for (path, text) in texts {
            house.modules.insert(module_of(&path), path.clone());
            let code = source::code_of(&text);
            let imports = source::imports(&code);
            house.files.insert(path, File { text, code, imports });
        }
        house
    }

    /// The same house with lines planted in one file.
    pub fn with(&self, path: &str, lines: &str) -> Self {
        let mut texts: BTreeMap<String, String> =
            self.files.iter().map(|(path, file)| (path.clone(), file.text.clone())).collect();
        let text = texts.get_mut(path).unwrap_or_else(|| panic!("there is no {path}"));
        text.insert_str(0, &format!("{lines}\n"));
        Self::of(texts)
    }

    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// All lines: path, number, text.
    pub fn lines(&self) -> impl Iterator<Item = (&str, usize, &str)> {
        self.files.iter().flat_map(|(path, file)| {
            file.text.lines().enumerate().map(move |(at, line)| (path.as_str(), at + 1, line))
        })
    }

    /// All types: path and name.
    pub fn types(&self) -> Vec<(String, String)> {
        let of = |(path, file): (&String, &File)| {
            let path = path.clone();
            source::types(&file.code).into_iter().map(move |name| (path.clone(), name))
        };
        self.files.iter().filter(|(path, _)| !is_test(path)).flat_map(of).collect()
    }

    pub fn arrows(&self) -> Vec<Arrow> {
        let mut arrows = Vec::new();
        for (from, file) in self.files.iter().filter(|(path, _)| !is_test(path)) {
            let module = module_of(from);
            let mut arrow = |path: &[String], name: &str, is_re_export| {
                let mut seen = BTreeSet::new();
                if let Some(to) = self.defining(&module, path, &mut seen) {
                    let (from, name) = (from.clone(), name.to_owned());
                    arrows.push(Arrow { from, to, name, is_re_export });
                }
            };
            for import in &file.imports {
                arrow(&import.path, &import.name, import.is_re_export);
            }
            for path in source::written_paths(&file.code) {
                let is_import = file.imports.iter().any(|import| import.path.starts_with(&path));
                if !is_import {
                    arrow(&path, &path.join("::"), false);
                }
            }
        }
        arrows
    }

    /// The file that defines what a path names, as seen from a module. `None` for other crates.
    fn defining(
        &self,
        from: &[String],
        path: &[String],
        seen: &mut BTreeSet<(Vec<String>, String)>,
    ) -> Option<String> {
        let (first, rest) = path.split_first()?;
        let (mut module, mut rest) = match first.as_str() {
            "crate" => (Vec::new(), rest),
            "self" => (from.to_vec(), rest),
            "super" => (from.split_last()?.1.to_vec(), rest),
            _ => {
                // A child of this module, or a name it imported; else another crate.
                let child: Vec<String> = from.iter().chain([first]).cloned().collect();
                if !self.modules.contains_key(&child) {
                    return None;
                }
                (from.to_vec(), path)
            }
        };
        while let Some((next, others)) = rest.split_first() {
            if next == "super" {
                module.pop();
                rest = others;
                continue;
            }
            let mut child = module.clone();
            child.push(next.clone());
            if self.modules.contains_key(&child) {
                (module, rest) = (child, others);
                continue;
            }
            let file = self.modules.get(&module)?;
            if seen.insert((module.clone(), next.clone())) {
                let handed_on = self.files.get(file)?.imports.iter().find(|i| i.name == *next);
                if let Some(import) = handed_on
                    && let Some(found) = self.defining(&module, &import.path, seen)
                {
                    return Some(found);
                }
            }
            break;
        }
        self.modules.get(&module).cloned()
    }
}

fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.ends_with("samples.rs")
}

fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    parts
}

fn collect(root: &Path, folder: &Path, texts: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
            texts.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
}

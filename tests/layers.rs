//! Imports point down the layers only (ARCHITECTURE.md, "Layers").

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A module may import itself and any module of a lower rank. Within layer 1 there is an order as
/// well, because a backlog writes through sinks and records which API a job lives at.
const RANKS: &[(&str, u32)] = &[
    ("job", 0),
    // Servers of the unit tests.
    ("support", 0),
    ("redis", 5),
    ("api", 10),
    ("sink", 11),
    ("backlog", 12),
    ("engine", 20),
    ("simulator", 20),
    ("config", 30),
    ("telemetry", 30),
    ("cli", 40),
];

fn rank(module: &str) -> Option<u32> {
    RANKS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, rank)| *rank)
}

/// Every `.rs` file under `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code that is shipped: without comments, and without tests, which may look anywhere.
fn shipped(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let code = line.trim_start();
        if code == "#[cfg(test)]" {
            match lines.peek().map(|next| next.trim_start()) {
                // A module of tests goes to the end of its file.
                Some(next) if next.starts_with("mod ") && next.ends_with('{') => break,
                _ => {
                    lines.next();
                }
            }
        } else if !code.starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The modules of this crate that a text names: `crate::job::Kind`, `use crate::{api, job::Kind}`.
fn imports(text: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = BTreeSet::new();
    for (at, path) in text.match_indices("crate::") {
        // `$crate::` and `some_crate::` are other things.
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &text[at + path.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let mut depth = 1;
        let mut start = 0;
        for (n, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if (c == ',' && depth == 1) || depth == 0 {
                found.insert(word(&list[start..n]));
                start = n + 1;
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn imports_point_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = String::new();
    for file in sources(&src) {
        let inside = file.strip_prefix(&src).unwrap();
        let name = file.file_stem().unwrap().to_str().unwrap();
        if name == "tests"
            || name.ends_with("_tests")
            || inside.iter().any(|folder| folder == "tests")
            || inside.starts_with("lib.rs")
            || inside.starts_with("main.rs")
        {
            continue;
        }
        let module = inside
            .iter()
            .next()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs");
        let Some(own) = rank(module) else {
            wrong += &format!("src/{module} stands in no layer; give it one in tests/layers.rs\n");
            continue;
        };
        for import in imports(&shipped(&fs::read_to_string(&file).unwrap())) {
            if import != module && rank(&import).is_none_or(|other| other >= own) {
                wrong += &format!("{} imports crate::{import}\n", inside.display());
            }
        }
    }
    assert!(wrong.is_empty(), "imports that do not point down:\n{wrong}");
}

#[test]
fn the_scan_sees_every_way_to_import() {
    let text = "use crate::api::{A, B};\nuse crate::{engine::{self, X}, job::Kind,\n  sink};\nfn f() { crate::cli::main() }\n\
                // crate::config is only spoken of\n#[cfg(test)]\nuse crate::telemetry::T;\n#[cfg(test)]\nmod tests {\n use crate::simulator::S;\n}\n";
    let found: Vec<_> = imports(&shipped(text)).into_iter().collect();
    assert_eq!(found, ["api", "cli", "engine", "job", "sink"]);
}

//! The house rules that a compiler does not keep: who may know whom, how long a file may be, and
//! that the map shows what is there.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each room of core may use, beside `ids`, `limits`, `few`, `slots`, `time`, `fault` and
/// `config`, which are everybody's. Nobody uses `shard`.
const MAY_USE: [(&str, &[&str]); 15] = [
    ("api", &["json", "protocol"]),
    ("config", &[]),
    ("connection", &["protocol", "session", "websocket"]),
    ("fault", &[]),
    ("few", &[]),
    ("ids", &[]),
    ("json", &[]),
    ("limits", &[]),
    ("protocol", &["json", "websocket"]),
    ("session", &["protocol", "topic"]),
    ("shard", &["api", "connection", "protocol", "session", "topic", "websocket"]),
    ("slots", &[]),
    ("time", &[]),
    ("topic", &["protocol"]),
    ("websocket", &[]),
];

const EVERYBODYS: [&str; 7] = ["ids", "limits", "few", "slots", "time", "fault", "config"];

/// Lines that a source file may have, its tests not counted.
const FILE_LINES_MAX: usize = 600;

/// Characters that a line may have. The formatter leaves long strings and comments as they are.
const LINE_CHARS_MAX: usize = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    rust_files(&root().join(folder), &mut found);
    assert!(!found.is_empty());
    found
}

/// The part of a file that is not its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned()
}

#[test]
fn rooms_of_core_know_only_whom_they_may() {
    let source = root().join("broker/core/src");
    let mut seen = BTreeSet::new();
    for path in sources("broker/core/src") {
        let inside = path.strip_prefix(&source).unwrap();
        let room = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if room == "lib" {
            continue;
        }
        let (_, allowed) = MAY_USE
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| panic!("{room} is no room of the table in this test"));
        seen.insert(room.to_owned());
        for used in code(&path).split("crate::").skip(1) {
            let used: String =
                used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let fine = used.is_empty()
                || used == room
                || EVERYBODYS.contains(&used.as_str())
                || allowed.contains(&used.as_str());
            assert!(fine, "{} may not use crate::{used}", inside.display());
        }
    }
    assert!(MAY_USE.iter().all(|(room, _)| seen.contains(*room)), "a room that is gone");
}

#[test]
fn files_fit_in_the_head() {
    let mut faults = Vec::new();
    for path in ["broker", "bench"].into_iter().flat_map(sources) {
        let name = path.strip_prefix(root()).unwrap().display();
        let lines = code(&path).lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{name}: {lines} lines"));
        }
        for (index, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let chars = line.chars().count();
            if chars > LINE_CHARS_MAX {
                faults.push(format!("{name}:{}: {chars} characters", index + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_map_shows_every_file_and_nothing_else() {
    let map = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let named: BTreeSet<&str> = map
        .split(|c: char| c.is_whitespace() || "`()|,;".contains(c))
        .map(|word| word.trim_end_matches(['.', ':']))
        .filter(|word| word.ends_with(".rs") && word.contains('/'))
        .collect();
    for name in &named {
        assert!(root().join(name).is_file(), "docs/ARCHITECTURE.md names {name}");
    }
    for path in sources("broker/core/src").into_iter().chain(sources("broker/server/src")) {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        assert!(named.contains(name.as_str()), "docs/ARCHITECTURE.md does not show {name}");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let reasons = fs::read_to_string(root().join("docs/DEPENDENCIES.md")).unwrap();
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap();
    let names: Vec<&str> = section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| name))
        .filter(|name| *name != "fanwire-core")
        .collect();
    assert!(names.len() > 20);
    for name in names {
        assert!(reasons.contains(&format!("`{name}`")), "docs/DEPENDENCIES.md: {name} is missing");
    }
}

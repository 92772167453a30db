//! `attacks.md` says of each guarantee and each attack which tests hold it. Here it is held to that: every one has its line, and what
//! a line names is a test that is there. Beside it stand those attacks that are nobody else's matter.

mod asvs;
mod injection;
mod links;
mod outsider;
mod owners;
mod paths;
mod samples;
mod spoofed;
mod wire;

pub use wire::path;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// G14 to G28 without G20, which is about workspaces, and A01 to A48.
fn expected() -> Vec<String> {
    let guarantees = (14..=28)
        .filter(|number| *number != 20)
        .map(|number| format!("G{number}"));
    let attacks = (1..=48).map(|number| format!("A{number:02}"));
    guarantees.chain(attacks).collect()
}

/// A line of the table.
struct Line {
    id: String,
    what: String,
    held_by: String,
}

impl Line {
    /// The tests that it names: what stands in backticks and has a function in a file.
    fn tests(&self) -> impl Iterator<Item = (&str, &str)> {
        let quoted = self.held_by.split('`').skip(1).step_by(2);
        quoted.filter_map(|name| name.split_once("::"))
    }

    /// Whether it says that there is nothing yet, and what that waits for.
    fn is_for_later(&self) -> bool {
        self.held_by.contains("later: ")
    }
}

#[test]
fn every_guarantee_and_every_attack_has_its_line() {
    let ids: Vec<String> = lines().into_iter().map(|line| line.id).collect();
    assert_eq!(ids, expected(), "the lines of attacks.md");
}

#[test]
fn every_line_names_tests_or_says_what_it_waits_for() {
    for line in lines() {
        assert!(!line.what.is_empty(), "{} does not say what it is", line.id);
        assert!(
            line.tests().next().is_some() || line.is_for_later(),
            "{} names no test: {}",
            line.id,
            line.held_by
        );
    }
}

#[test]
fn every_test_that_a_line_names_is_there() {
    let mut missing = BTreeSet::new();
    for line in lines() {
        for (file, function) in line.tests() {
            if !is_a_test(file, function) {
                missing.insert(format!("{}: {file}::{function}", line.id));
            }
        }
    }
    assert!(missing.is_empty(), "named and not there: {missing:#?}");
}

#[test]
fn what_is_no_test_is_not_taken_for_one() {
    assert!(is_a_test("e2e/attacks", "what_is_no_test_is_not_taken_for_one"));
    assert!(is_a_test("authn/src/secret", "short_and_sample_secrets_are_refused"));
    assert!(!is_a_test("e2e/attacks", "is_a_test"), "a function, but no test");
    assert!(!is_a_test("e2e/attacks", "what_is_no_test"), "the beginning of a name");
    assert!(
        !is_a_test("e2e/audit", "what_is_no_test_is_not_taken_for_one"),
        "elsewhere"
    );
    assert!(!is_a_test("e2e/none", "what_is_no_test_is_not_taken_for_one"));
}

/// The rows of the table, by its three columns.
fn lines() -> Vec<Line> {
    let text = fs::read_to_string(tests().join("attacks.md")).expect("attacks.md stands beside the tests");
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let mut lines = Vec::new();
    // After the head of the table and its rule.
    for row in rows.skip(2) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [id, what, held_by] = cells[..] else {
            panic!("three columns: {row}");
        };
        lines.push(Line {
            id: id.to_owned(),
            what: what.to_owned(),
            held_by: held_by.to_owned(),
        });
    }
    lines
}

/// Whether the module, which is named by its path from `tests/` or from `crates/`, has a test of this name: in its file, or in the
/// files of its folder.
fn is_a_test(module: &str, function: &str) -> bool {
    let folders = [tests(), tests().join("../crates")];
    let places = folders.iter().map(|folder| folder.join(module));
    places
        .flat_map(|place| sources(&place))
        .any(|file| has_test(&file, function))
}

/// The sources of a module.
fn sources(place: &Path) -> Vec<PathBuf> {
    let mut files = vec![place.with_extension("rs")];
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Whether a function of this name stands in the file under an attribute that makes it a test.
fn has_test(file: &Path, function: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    let head = format!("fn {function}(");
    let mut attributes = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            attributes.push(line);
        } else if line.contains(&head) {
            let makes_a_test = |line: &&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            return attributes.iter().any(makes_a_test);
        } else {
            attributes.clear();
        }
    }
    false
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

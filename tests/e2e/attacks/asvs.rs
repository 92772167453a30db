//! `asvs.md` goes through the requirements of OWASP ASVS 5.0.0 that are of levels 1 and 2. Here it is held to that: each stands there
//! once, and what a line names is there.

use std::{collections::BTreeSet, fs};

use super::{is_a_test, tests};

/// How many requirements of levels 1 and 2 each section has. They are numbered first in each, before those of level 3, so that the last
/// number says it all. Sections that have none of them are left out.
const SECTIONS: [(&str, usize); 75] = [
    ("1.1", 2),
    ("1.2", 9),
    ("1.3", 11),
    ("1.4", 3),
    ("1.5", 2),
    ("2.1", 3),
    ("2.2", 3),
    ("2.3", 4),
    ("2.4", 1),
    ("3.2", 2),
    ("3.3", 4),
    ("3.4", 6),
    ("3.5", 5),
    ("3.7", 2),
    ("4.1", 3),
    ("4.2", 1),
    ("4.3", 2),
    ("4.4", 4),
    ("5.1", 1),
    ("5.2", 3),
    ("5.3", 2),
    ("5.4", 3),
    ("6.1", 3),
    ("6.2", 12),
    ("6.3", 4),
    ("6.4", 4),
    ("6.5", 5),
    ("6.6", 3),
    ("6.8", 4),
    ("7.1", 3),
    ("7.2", 4),
    ("7.3", 2),
    ("7.4", 5),
    ("7.5", 2),
    ("7.6", 2),
    ("8.1", 2),
    ("8.2", 3),
    ("8.3", 1),
    ("8.4", 1),
    ("9.1", 3),
    ("9.2", 4),
    ("10.1", 2),
    ("10.2", 2),
    ("10.3", 4),
    ("10.4", 11),
    ("10.5", 5),
    ("10.6", 2),
    ("10.7", 3),
    ("11.1", 2),
    ("11.2", 3),
    ("11.3", 3),
    ("11.4", 4),
    ("11.5", 1),
    ("11.6", 1),
    ("12.1", 3),
    ("12.2", 2),
    ("12.3", 4),
    ("13.1", 1),
    ("13.2", 5),
    ("13.3", 2),
    ("13.4", 5),
    ("14.1", 2),
    ("14.2", 4),
    ("14.3", 3),
    ("15.1", 3),
    ("15.2", 3),
    ("15.3", 7),
    ("16.1", 1),
    ("16.2", 5),
    ("16.3", 4),
    ("16.4", 3),
    ("16.5", 3),
    ("17.1", 1),
    ("17.2", 4),
    ("17.3", 2),
];

/// The standard's own count.
const LEVEL_1: usize = 70;
const LEVEL_2: usize = 183;

/// A line of a table.
struct Line {
    number: String,
    level: String,
    what: String,
    held_by: String,
}

impl Line {
    /// What stands in backticks.
    fn quoted(&self) -> impl Iterator<Item = &str> {
        self.held_by.split('`').skip(1).step_by(2)
    }

    /// The tests that it names.
    fn tests(&self) -> impl Iterator<Item = (&str, &str)> {
        self.quoted().filter_map(|name| name.split_once("::"))
    }

    /// The files that it names: paths, and what stands at the root.
    fn files(&self) -> impl Iterator<Item = &str> {
        let ends = [
            ".rs", ".md", ".proto", ".toml", ".lock", ".yaml", ".sh", ".html", ".sql",
        ];
        let is_file = move |name: &&str| ends.iter().any(|end| name.ends_with(end)) || *name == "deploy/Dockerfile";
        self.quoted().filter(is_file)
    }

    /// Whether it says that it is not held, and why; or whose matter it is.
    fn is_explained(&self) -> bool {
        let beginnings = ["does not apply: ", "not met: ", "the operator's", "in part: "];
        beginnings.iter().any(|beginning| self.held_by.starts_with(beginning))
    }
}

#[test]
fn every_requirement_of_levels_1_and_2_has_its_line() {
    let expected: Vec<String> = SECTIONS
        .iter()
        .flat_map(|(section, count)| (1..=*count).map(move |number| format!("{section}.{number}")))
        .collect();
    assert_eq!(expected.len(), LEVEL_1 + LEVEL_2);
    let lines = lines();
    let numbers: Vec<&str> = lines.iter().map(|line| line.number.as_str()).collect();
    assert_eq!(numbers, expected, "the numbers of asvs.md");
    let of = |level: &str| lines.iter().filter(|line| line.level == level).count();
    assert_eq!((of("1"), of("2")), (LEVEL_1, LEVEL_2), "lines of each level");
}

#[test]
fn every_requirement_is_held_or_it_is_said_why_not() {
    let mut findings = BTreeSet::new();
    for line in lines() {
        let is_held = line.tests().next().is_some() || line.files().next().is_some();
        if line.what.is_empty() || !(is_held || line.is_explained()) {
            findings.insert(format!("{}: {}", line.number, line.held_by));
        }
    }
    assert!(findings.is_empty(), "neither held nor explained: {findings:#?}");
}

#[test]
fn every_test_and_file_that_holds_a_requirement_is_there() {
    let root = tests().join("..");
    let mut missing = BTreeSet::new();
    for line in lines() {
        for (module, function) in line.tests() {
            if !is_a_test(module, function) {
                missing.insert(format!("{}: {module}::{function}", line.number));
            }
        }
        for file in line.files() {
            if !root.join(file).is_file() {
                missing.insert(format!("{}: {file}", line.number));
            }
        }
    }
    assert!(missing.is_empty(), "named and not there: {missing:#?}");
}

/// The lines of all tables about requirements.
fn lines() -> Vec<Line> {
    let text = fs::read_to_string(tests().join("asvs.md")).expect("asvs.md stands beside the tests");
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.filter(|row| row.starts_with(|first: char| first.is_ascii_digit()));
    let line = |row: &str| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [number, level, what, held_by] = cells[..] else {
            panic!("four columns: {row}");
        };
        Line {
            number: number.to_owned(),
            level: level.to_owned(),
            what: what.to_owned(),
            held_by: held_by.to_owned(),
        }
    };
    rows.map(line).collect()
}

//! The tables: what the servers do, and what they cost.

use std::collections::BTreeSet;

use crate::markdown::{Document, read};

/// Returns the rows below the first line of `text` that `is_head` accepts.
fn rows(text: &str, is_head: impl Fn(&str) -> bool) -> impl Iterator<Item = &str> {
    let table = text.lines().skip_while(move |line| !is_head(line));
    table.skip(2).take_while(|line| line.starts_with('|'))
}

/// Returns the cases of `check` that the table with the column "case of `check`" names although they
/// do not exist, and those that it leaves out.
pub fn wrong_cases(document: &Document) -> Vec<String> {
    let mut named = BTreeSet::new();
    for row in rows(&document.text, |line| line.ends_with("| case of `check` |")) {
        let cell = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap_or_default();
        let names = cell.split(',').map(|name| name.trim().trim_matches('`'));
        named.extend(names.filter(|name| !name.is_empty()));
    }
    let known: BTreeSet<&str> = check::all().map(|case| case.name).collect();
    let wrong = named.symmetric_difference(&known);
    wrong.map(|name| format!("{}: the case {name:?} of `check`", document.path)).collect()
}

/// Returns what differs between the table of costs in `document` and the source of the benchmark that
/// prints it: the head, and the names of the loads.
pub fn wrong_loads(document: &Document) -> Vec<String> {
    let benchmark = read("tests/bench/benches/servers/main.rs");
    let is_head = |line: &str| line.starts_with("| load | server |");
    let mut wrong = Vec::new();
    let head = document.text.lines().find(|line| is_head(line)).unwrap_or("no table");
    if !benchmark.contains(&format!("\n{head}\n")) {
        wrong.push(format!("{}: the benchmark does not print {head:?}", document.path));
    }
    for row in rows(&document.text, is_head) {
        let load = row.trim_start_matches(['|', ' ']).split([' ', '/']).next().unwrap_or_default();
        if !["\"", "/"].iter().any(|end| benchmark.contains(&format!("(\"{load}{end}"))) {
            wrong.push(format!("{}: the benchmark has no load {load:?}", document.path));
        }
    }
    wrong
}

//! The tables: what the servers do, and what they cost.

use std::collections::BTreeSet;

use crate::markdown::{Document, read};

/// Returns the rows of the table in `document` whose first line contains `head`.
fn rows<'a>(document: &'a Document, head: &str) -> impl Iterator<Item = &'a str> {
    let table = document.text.lines().skip_while(move |line| !line.contains(head));
    table.skip(2).take_while(|line| line.starts_with('|'))
}

/// Returns the cases that differ between `check` and the table with the column "case of `check`".
pub fn wrong_cases(document: &Document) -> Vec<String> {
    let cells = rows(document, "| case of `check` |").filter_map(|row| row.split('|').nth(4));
    // The names are the code spans of the cell.
    let named: BTreeSet<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let known = check::all().map(|case| case.name).collect();
    let wrong = named.symmetric_difference(&known);
    wrong.map(|name| format!("{}: the case {name:?} of `check`", document.path)).collect()
}

/// Returns the loads in the table of costs that the benchmark does not have. The head of the table
/// must be the one that the benchmark prints.
pub fn wrong_loads(document: &Document) -> Vec<String> {
    let benchmark = read("tests/bench/benches/servers/main.rs");
    let head = document.text.lines().find(|line| line.starts_with("| load | server |"));
    let head = head.filter(|head| benchmark.contains(&format!("\n{head}\n")));
    let mut wrong = rows(document, head.unwrap_or("no head"))
        .filter_map(|row| row.split(['|', '/']).nth(1).map(str::trim))
        .filter(|load| {
            !["\"", "/"].iter().any(|end| benchmark.contains(&format!("(\"{load}{end}")))
        })
        .map(|load| format!("{}: the benchmark has no load {load:?}", document.path))
        .collect::<Vec<_>>();
    if head.is_none() {
        wrong.push(format!("{}: the benchmark prints another head", document.path));
    }
    wrong
}

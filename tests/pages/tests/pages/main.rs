//! Checks that the pages match the code and the programs.
//!
//! `UPDATE_PAGES=1 cargo test -p pages` writes the real diffs into the pages.

#![forbid(unsafe_code)]

mod diffs;
mod experiments;
mod markdown;
mod names;
mod session;

use std::{env, fs, thread};

use harness::root;
use markdown::{Document, PAGES};

const HARDENING: &str = "step3-select/HARDENING.md";
const BENCH: &str = "tests/bench/README.md";

#[test]
fn pages_match_the_code() {
    let mut problems = names::wrong_cases(&Document::read(HARDENING));
    problems.extend(names::wrong_loads(&Document::read(BENCH)));
    for path in PAGES {
        if env::var_os("UPDATE_PAGES").is_some() {
            let text = diffs::insert_real_diffs(&Document::read(path));
            fs::write(root().join(path), text).expect("a writable page");
        }
        let document = Document::read(path);
        for checker in [diffs::problems, experiments::problems, names::problems, names::dead_links]
        {
            problems.extend(checker(&document));
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn check_links_have_targets() {
    let diagnoses = check::Diagnosis::all().map(|diagnosis| diagnosis.section);
    let sections = check::all().map(|case| case.section).chain(diagnoses);
    let links: String = sections.map(|section| format!("[]({section})\n")).collect();
    let dead = names::dead_links(&Document::parse("README.md", &links));
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

#[test]
fn console_block_shows_the_real_output() {
    thread::scope(|scope| {
        for path in PAGES {
            scope.spawn(|| session::play(&Document::read(path)));
        }
    });
}

#[test]
#[ignore = "rebuilds the workspace for each experiment, which takes some minutes"]
fn experiment_has_the_result_on_the_page() {
    for document in PAGES.map(Document::read) {
        for block in document.blocks_with("experiment") {
            experiments::run_experiment(&document, block);
        }
    }
}

/// Changes a correct page, and expects that the checker finds a problem.
mod tests {
    use super::*;

    const STEP_1: &str = "step1-blocking/README.md";

    fn change_page(path: &str, from: &str, to: &str) -> Document {
        let text = markdown::read(path);
        assert!(text.contains(from), "expected {from:?} in {path}");
        Document::parse(path, &text.replacen(from, to, 1))
    }

    #[test]
    fn checker_finds_a_change_on_a_page() {
        type Checker = fn(&Document) -> Vec<String>;
        let changes: [(Checker, &str, &str, &str); 8] = [
            (diffs::problems, "step2-functions/README.md", "\n-fn main()", "\n-fn start()"),
            (diffs::problems, HARDENING, "set_nonblocking(", "set_blocking("),
            (names::wrong_cases, HARDENING, "| `half-close`", "| `half-open`"),
            (names::wrong_loads, BENCH, "| crowd/100 |", "| crowd/101 |"),
            (names::dead_links, STEP_1, "(src/main.rs)", "(src/mian.rs)"),
            (names::dead_links, STEP_1, "#troubleshooting", "#trouble"),
            (experiments::problems, STEP_1, "[0; 4096];\n", "[0; 4095];\n"),
            (experiments::problems, STEP_1, "red=a_", "red=b_"),
        ];
        for (problems, path, from, to) in changes {
            let problems = problems(&change_page(path, from, to));
            assert!(!problems.is_empty(), "{path}: expected a problem with {to:?}");
        }
    }

    #[test]
    fn checker_finds_a_wrong_name() {
        for code in [
            "src/mian.rs",
            "git diff step1*/src/mian.rs",
            "target/debug/examples/bear",
            "cargo run -p step9",
            "cargo run --bin clients",
            "cargo run -p step3-select --example bear",
            "cargo test -p steps --test step9",
            "cargo bench -p bench --bench step9",
            "cargo run -p step1-blocking -- --silent",
            "--silent",
        ] {
            let document = Document::parse(STEP_1, &format!("`{code}`"));
            assert_eq!(names::problems(&document).len(), 1, "problems with `{code}`");
        }
    }

    #[test]
    #[should_panic(expected = "no more output than the page shows")]
    fn replay_finds_a_missing_line() {
        session::play(&change_page(STEP_1, "\nBefore accept()\n^C", "\n^C"));
    }
}

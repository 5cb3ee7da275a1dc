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
use markdown::{PAGES, Page};

const HARDENING: &str = "step3-select/HARDENING.md";

#[test]
fn pages_match_the_code() {
    let mut problems = names::find_wrong_cases(&Page::read(HARDENING));
    for path in PAGES {
        if env::var_os("UPDATE_PAGES").is_some() {
            let text = diffs::insert_real_diffs(&Page::read(path));
            fs::write(root().join(path), text).expect("cannot write the page");
        }
        let page = Page::read(path);
        problems.extend(diffs::find_problems(&page));
        problems.extend(experiments::find_problems(&page));
        problems.extend(names::find_problems(&page));
        problems.extend(names::find_dead_links(&page));
    }
    let problems = problems.join("\n");
    assert!(problems.is_empty(), "problems (UPDATE_PAGES=1 corrects the diffs):\n{problems}");
}

#[test]
fn sections_of_cases_and_diagnoses_exist() {
    let diagnoses = check::Diagnosis::all().filter_map(|diagnosis| diagnosis.section);
    let sections = check::cases().map(|case| case.section).chain(diagnoses);
    let links: String = sections.map(|section| format!("[]({section})\n")).collect();
    // The sections are paths from the top folder, like the links of README.md.
    let dead_links = names::find_dead_links(&Page::parse("README.md", &links));
    assert!(dead_links.is_empty(), "`check` links to sections that do not exist: {dead_links:#?}");
}

#[test]
fn console_blocks_show_the_real_output() {
    thread::scope(|scope| {
        for path in PAGES {
            scope.spawn(|| session::replay(&Page::read(path)));
        }
    });
}

#[test]
#[ignore = "rebuilds the workspace for each experiment, which takes some minutes"]
fn experiments_have_the_results_on_the_pages() {
    for page in PAGES.map(Page::read) {
        for block in page.blocks_with("experiment") {
            experiments::run_experiment(&page, block);
        }
    }
}

/// These tests change a correct page, and expect that a problem is found.
mod tests {
    use super::*;

    const STEP_1: &str = "step1-blocking/README.md";

    fn change_page(path: &str, from: &str, to: &str) -> Page {
        let text = markdown::read_file(path);
        assert!(text.contains(from), "expected {from:?} in {path}");
        Page::parse(path, &text.replacen(from, to, 1))
    }

    #[test]
    fn changes_on_a_page_are_found() {
        type FindProblems = fn(&Page) -> Vec<String>;
        let changes: [(FindProblems, &str, &str, &str); 7] = [
            (diffs::find_problems, "step2-functions/README.md", "\n-fn main()", "\n-fn start()"),
            (diffs::find_problems, HARDENING, "set_nonblocking(", "set_blocking("),
            (names::find_wrong_cases, HARDENING, "| `half-close`", "| `half-open`"),
            (names::find_dead_links, STEP_1, "(src/main.rs)", "(src/mian.rs)"),
            (names::find_dead_links, STEP_1, "#troubleshooting", "#trouble"),
            (experiments::find_problems, STEP_1, "[0; 4096];\n", "[0; 4095];\n"),
            (experiments::find_problems, STEP_1, "failing-tests=a_", "failing-tests=b_"),
        ];
        for (find_problems, path, from, to) in changes {
            let problems = find_problems(&change_page(path, from, to));
            assert!(!problems.is_empty(), "{path}: expected a problem with {to:?}");
        }
    }

    #[test]
    fn wrong_names_are_found() {
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
            let page = Page::parse(STEP_1, &format!("`{code}`"));
            assert_eq!(names::find_problems(&page).len(), 1, "problems with `{code}`");
        }
    }

    #[test]
    #[should_panic(expected = "no more output than the page shows")]
    fn missing_line_of_output_is_found() {
        session::replay(&change_page(STEP_1, "\nBefore accept()\n^C", "\n^C"));
    }
}

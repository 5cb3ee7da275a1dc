//! Checks that the pages match the code and the programs.
//!
//! `UPDATE_PAGES=1 cargo test -p pages` writes the real diffs into the pages.

#![forbid(unsafe_code)]

mod diffs;
mod experiments;
mod markdown;
mod names;
mod session;
mod tables;

use std::{env, fs, thread};

use harness::root;
use markdown::{Document, PAGES};

fn documents() -> impl Iterator<Item = Document> {
    PAGES.into_iter().map(Document::read)
}

fn expect_none(problems: impl IntoIterator<Item = String>) {
    let problems: Vec<String> = problems.into_iter().collect();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn each_diff_is_the_real_one() {
    if env::var_os("UPDATE_PAGES").is_some() {
        for document in documents() {
            fs::write(root().join(&document.path), diffs::renewed(&document))
                .expect("a page can be written");
        }
    }
    expect_none(documents().flat_map(|document| diffs::problems(&document)));
}

#[test]
fn each_console_shows_what_happens() {
    thread::scope(|scope| {
        for document in documents() {
            scope.spawn(move || session::play(&document));
        }
    });
}

#[test]
fn tables_name_each_case_of_check_and_what_the_benchmark_prints() {
    expect_none(tables::wrong_cases(&Document::read("step3-select/HARDENING.md")));
    expect_none(tables::wrong_loads(&Document::read("tests/bench/README.md")));
}

#[test]
fn each_case_of_check_names_a_page_and_a_section() {
    let diagnoses = check::Diagnosis::all().map(|diagnosis| diagnosis.section);
    let pages = check::all().map(|case| case.section).chain(diagnoses);
    let links: String = pages.map(|page| format!("[]({page})\n")).collect();
    expect_none(names::dead_links(&Document::parse("README.md", &links)));
}

#[test]
fn each_file_program_test_and_flag_exists() {
    expect_none(documents().flat_map(|document| names::problems(&document)));
}

#[test]
fn each_link_leads_somewhere() {
    expect_none(documents().flat_map(|document| names::dead_links(&document)));
}

#[test]
fn each_experiment_fits_the_code_and_names_its_tests() {
    expect_none(documents().flat_map(|document| experiments::problems(&document)));
}

#[test]
#[ignore = "builds the workspace again for each experiment, which takes some minutes"]
fn each_experiment_does_what_the_page_says() {
    for document in documents() {
        for block in document.blocks_with("experiment") {
            experiments::run_experiment(&document, block);
        }
    }
}

/// Each checker finds a page that was right and has one thing changed.
mod red {
    use super::*;

    fn changed(path: &str, from: &str, to: &str) -> Document {
        let text = markdown::read(path);
        assert!(text.contains(from), "{path} was expected to have {from:?}");
        Document::parse(path, &text.replacen(from, to, 1))
    }

    #[test]
    fn each_checker_finds_a_changed_page() {
        type Checker = fn(&Document) -> Vec<String>;
        const STEP_1: &str = "step1-blocking/README.md";
        let changes: [(Checker, &str, &str, &str); 8] = [
            (diffs::problems, "step2-functions/README.md", "\n-fn main()", "\n-fn start()"),
            (diffs::problems, "step3-select/HARDENING.md", "set_nonblocking(", "set_blocking("),
            (tables::wrong_cases, "step3-select/HARDENING.md", "| `half-close`", "| `half-open`"),
            (tables::wrong_loads, "tests/bench/README.md", "| round_trip ", "| square_trip "),
            (names::dead_links, STEP_1, "(src/main.rs)", "(src/mian.rs)"),
            (names::dead_links, STEP_1, "#troubleshooting", "#trouble"),
            (experiments::problems, STEP_1, "[0; 4096];\n", "[0; 4095];\n"),
            (experiments::problems, STEP_1, "red=a_", "red=b_"),
        ];
        for (problems, path, from, to) in changes {
            assert!(!problems(&changed(path, from, to)).is_empty(), "{path}: {to}");
        }
    }

    #[test]
    fn wrong_name_is_found() {
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
            let document = Document::parse("step1-blocking/README.md", &format!("`{code}`"));
            assert_eq!(names::problems(&document).len(), 1, "{code}");
        }
    }

    #[test]
    #[should_panic(expected = "all that was printed")]
    fn missing_line_of_a_server_is_found() {
        let path = "step1-blocking/README.md";
        session::play(&changed(path, "\nBefore accept()\n^C", "\n^C"));
    }
}

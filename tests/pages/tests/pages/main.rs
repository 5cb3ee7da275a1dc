//! Every README against the workspace: what it shows is what happens, and what it names exists.
//!
//! `UPDATE_PAGES=1 cargo test -p pages` writes the real diffs into the pages.

#![forbid(unsafe_code)]

mod diffs;
mod experiments;
mod markdown;
mod names;
mod refusal;
mod session;
mod system_calls;

use std::{env, fs};

use harness::root;
use markdown::{Document, READMES};
use names::Workspace;

fn documents() -> impl Iterator<Item = Document> {
    READMES.into_iter().map(Document::read)
}

/// Fails with all the problems that there are.
fn expect_none(problems: impl IntoIterator<Item = String>) {
    let problems: Vec<String> = problems.into_iter().collect();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn each_diff_is_the_real_one() {
    if env::var_os("UPDATE_PAGES").is_some() {
        for document in documents() {
            let text = diffs::renewed(&document).unwrap_or_else(|problem| panic!("{problem}"));
            fs::write(root().join(&document.path), text).expect("a README can be written");
        }
    }
    expect_none(documents().flat_map(|document| diffs::problems(&document)));
}

#[test]
fn the_terminals_of_the_top_folder_show_what_happens() {
    session::play(&Document::read("README.md"));
}

#[test]
fn the_terminals_of_step_1_show_what_happens() {
    session::play(&Document::read("step1-blocking/README.md"));
}

#[test]
fn the_terminals_of_step_2_show_what_happens() {
    session::play(&Document::read("step2-functions/README.md"));
}

#[test]
fn the_terminals_of_step_3_show_what_happens() {
    session::play(&Document::read("step3-select/README.md"));
}

#[test]
fn the_terminals_of_the_care_show_what_happens() {
    session::play(&Document::read("step3-select/CARE.md"));
}

#[test]
fn the_terminals_of_what_comes_after_show_what_happens() {
    session::play(&Document::read("step3-select/AFTER.md"));
}

#[test]
fn no_page_is_longer_than_its_lesson() {
    expect_none(documents().filter_map(|document| {
        let most = if document.path.starts_with("step2") { 1400 } else { 2700 };
        let words = document.text.split_whitespace().count();
        (words > most).then(|| format!("{}: {words} words, {most} at most", document.path))
    }));
}

#[test]
fn the_table_of_what_the_servers_do_names_the_cases_of_check_and_all_of_them() {
    expect_none(names::wrong_cases(&Document::read("README.md")));
}

#[test]
fn each_case_of_check_names_a_page_and_a_section() {
    let pages: Vec<String> = check::all().map(|case| format!("[]({})", case.read)).collect();
    expect_none(names::dead_links(&Document::parse("README.md", &pages.join("\n"))));
}

#[test]
fn the_table_of_what_the_servers_cost_is_the_one_that_the_benchmark_prints() {
    expect_none(names::wrong_loads(&markdown::read("tests/bench/README.md")));
}

#[test]
fn the_calls_are_those_that_strace_shows() {
    for document in documents() {
        for block in document.blocks.iter().filter(|block| block.language == "strace") {
            system_calls::expect_calls(&document, block);
        }
    }
}

#[test]
fn the_faults_that_the_care_lets_strace_make_stop_bare_and_not_step_3() {
    system_calls::expect_faults(&Document::read("step3-select/CARE.md"));
}

#[test]
fn closing_a_socket_that_an_fd_set_borrows_is_refused_at_that_line_and_nowhere_else() {
    let document = Document::read("step3-select/CARE.md");
    let mut refused = document.blocks.iter().filter(|block| block.attribute("refused").is_some());
    refusal::expect_refused(&document, refused.next().expect("the care shows such a block"));
}

#[test]
fn each_name_in_code_exists() {
    let workspace = Workspace::read();
    expect_none(documents().flat_map(|document| workspace.problems(&document)));
}

#[test]
fn each_link_leads_somewhere() {
    expect_none(documents().flat_map(|document| names::dead_links(&document)));
}

#[test]
fn each_experiment_fits_the_code_and_names_its_tests() {
    let workspace = Workspace::read();
    expect_none(documents().flat_map(|document| experiments::problems(&document, &workspace)));
}

#[test]
#[ignore = "builds the workspace anew for each experiment: some minutes"]
fn each_experiment_turns_its_tests_red_and_no_others() {
    for document in documents() {
        for block in experiments::of(&document) {
            experiments::run(&document, block);
        }
    }
}

/// The checkers find what they are for: a page that was right, with one thing changed.
mod red {
    use super::*;

    fn changed(path: &str, from: &str, to: &str) -> Document {
        let text = markdown::read(path);
        assert!(text.contains(from), "{path} was expected to have {from:?}");
        Document::parse(path, &text.replacen(from, to, 1))
    }

    #[test]
    fn a_stale_diff_is_found() {
        let stale = "\n-fn main() {\n";
        let document = changed("step2-functions/README.md", stale, "\n-fn main() -> ! {\n");
        assert_eq!(diffs::problems(&document).len(), 1);
    }

    #[test]
    fn a_stale_line_of_a_listing_is_found() {
        let document =
            changed("step3-select/CARE.md", "if room.is_left() {", "if room.was_left() {");
        assert_eq!(diffs::problems(&document).len(), 1);
    }

    #[test]
    fn a_case_that_check_does_not_have_is_found_and_one_that_is_left_out() {
        let document = changed("README.md", "`half-close`", "`half-open`");
        assert_eq!(names::wrong_cases(&document).len(), 2);
    }

    #[test]
    fn a_load_that_is_not_measured_is_found() {
        let page =
            markdown::read("tests/bench/README.md").replace("| round_trip ", "| a_round_trip ");
        assert!(!names::wrong_loads(&page).is_empty());
    }

    #[test]
    #[should_panic(expected = "the calls of `strace")]
    fn a_stale_call_is_found() {
        let document = changed("step3-select/README.md", "[3 4]", "[3 5]");
        let mut blocks = document.blocks.iter().filter(|block| block.language == "strace");
        system_calls::expect_calls(&document, blocks.next().expect("step 3 shows the calls"));
    }

    #[test]
    #[should_panic(expected = "the server says \"Before recv()\"")]
    fn a_stale_line_of_a_server_is_found() {
        session::play(&changed(
            "step1-blocking/README.md",
            "\nBefore recv()\n",
            "\nBefore read()\n",
        ));
    }

    #[test]
    #[should_panic(expected = "what `cargo run -p step1-blocking -- --help` says")]
    fn a_stale_help_is_found() {
        session::play(&changed("README.md", "--quiet ", "--silent "));
    }

    #[test]
    fn a_dead_link_is_found() {
        let document = changed("step1-blocking/README.md", "(src/main.rs)", "(src/mian.rs)");
        assert_eq!(names::dead_links(&document).len(), 1);
        let document = changed("step1-blocking/README.md", "#troubleshooting", "#trouble");
        assert_eq!(names::dead_links(&document).len(), 1);
    }

    #[test]
    fn a_name_that_does_not_exist_is_found() {
        let workspace = Workspace::read();
        for (from, to) in [
            ("`accept_failed`", "`accept_fails`"),
            ("`cargo test -p steps --test step1`", "`cargo test -p steps --test step9`"),
            (
                "`the_narration_says_each_call_before_it_is_made`",
                "`the_narration_says_each_call_after_it_was_made`",
            ),
        ] {
            let document = changed("step1-blocking/README.md", from, to);
            assert_eq!(workspace.problems(&document).len(), 1, "{to}");
        }
    }
}

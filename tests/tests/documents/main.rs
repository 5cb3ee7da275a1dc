//! Every README against the workspace: what it shows is what happens, and what it names exists.
//!
//! `UPDATE_DOCUMENTS=1 cargo test -p tests --test documents` writes the real diffs into the pages.

#![forbid(unsafe_code)]

mod diffs;
mod experiments;
mod markdown;
mod names;
mod refusal;
mod session;
mod system_calls;

use std::{env, fs};

use markdown::{Document, READMES, root};
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
    if env::var_os("UPDATE_DOCUMENTS").is_some() {
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
fn the_calls_are_those_that_strace_shows() {
    for document in documents() {
        for block in document.blocks.iter().filter(|block| block.language == "strace") {
            system_calls::expect_calls(&document, block);
        }
    }
}

#[test]
fn closing_a_socket_that_an_fd_set_borrows_is_refused_at_that_line_and_nowhere_else() {
    let document = Document::read("step3-select/README.md");
    let mut refused = document.blocks.iter().filter(|block| block.attribute("refused").is_some());
    refusal::expect_refused(&document, refused.next().expect("step 3 shows such a block"));
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
fn each_figure_says_which_command_measured_it() {
    expect_none(documents().flat_map(|document| names::figures_without_a_command(&document)));
}

#[test]
fn each_page_is_kind() {
    expect_none(documents().flat_map(|document| names::unkind_words(&document)));
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

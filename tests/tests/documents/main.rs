//! Every README against the workspace: what it shows is what happens, and what it names exists.
//!
//! `UPDATE_DOCUMENTS=1 cargo test -p tests --test documents` writes the real diffs into the pages.

#![forbid(unsafe_code)]

mod diffs;
mod markdown;
mod session;

use std::{env, fs};

use markdown::{Document, READMES, root};

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

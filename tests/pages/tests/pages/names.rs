//! Checks that each file, package, program, test, flag and case of `check` on a page exists, and that each
//! link has a target. Other words in code are not checked.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use harness::{Step, root};

use crate::markdown::{Page, read_file};

/// A word that ends in one of these is a path.
const EXTENSIONS: [&str; 8] = [".md", ".py", ".rs", ".sh", ".svg", ".toml", ".txt", ".yml"];

/// The sources in which the programs and the servers declare their flags.
static SOURCES: LazyLock<String> = LazyLock::new(|| {
    let tools = ["board", "check", "client", "compare"];
    let tools = tools.map(|tool| read_file(&format!("tests/{tool}/src/main.rs"))).concat();
    tools + &read_file("common/src/command_line.rs")
});

/// Returns the problems with the names in the code spans and the commands of `page`.
pub fn find_problems(page: &Page) -> Vec<String> {
    let mut code = page.code_spans.clone();
    for block in page.blocks_in("sh") {
        code.extend(block.text.lines().map(|line| (line.to_owned(), block.place.clone())));
    }
    let find_problem = |(code, place): (String, String)| {
        let word = find_unknown_word(page, &code)?;
        Some(format!("{place}: `{word}` in `{code}` does not exist"))
    };
    code.into_iter().filter_map(find_problem).collect()
}

/// Returns the first word in `code` that names something that does not exist.
fn find_unknown_word<'a>(page: &Page, code: &'a str) -> Option<&'a str> {
    let is_cargo = code.contains("cargo ");
    // True if the next word is an argument of our program. False if it is an argument of cargo.
    let mut is_program_argument = code.starts_with("--");
    let mut previous_word = "";
    for word in code.split([' ', ')']) {
        let is_unknown = match (word.strip_prefix("--"), word.strip_prefix("target/debug/")) {
            (Some(flag), _) if is_program_argument => {
                !(["", "help", "version"].contains(&flag)
                    || SOURCES.contains(&format!("\"{flag}\"")))
            }
            (_, Some(binary)) => Step::from_name(binary.trim_start_matches("examples/")).is_none(),
            _ if is_cargo && is_missing_target(previous_word, word) => true,
            _ => is_missing_path(page, code, word),
        };
        if is_unknown {
            return Some(word);
        }
        let is_end_of_cargo = word == "--" && code.contains("run ");
        is_program_argument |= is_end_of_cargo || word.starts_with("target/debug/");
        previous_word = word;
    }
    None
}

/// Returns whether `option` of cargo takes a target, and the workspace has no target `name`.
fn is_missing_target(option: &str, name: &str) -> bool {
    let patterns = match option {
        "-p" | "--bin" => vec!["NAME/Cargo.toml", "tests/NAME/Cargo.toml"],
        "--example" => vec!["step3-select/examples/NAME.rs"],
        "--test" => vec!["tests/*/tests/NAME.rs", "tests/*/tests/NAME/main.rs"],
        "--bench" => vec!["tests/*/benches/NAME.rs", "tests/*/benches/NAME/main.rs"],
        _ => return false,
    };
    !patterns.iter().any(|pattern| has_path(root(), &pattern.replace("NAME", name)))
}

/// Returns whether `word` is a path that does not exist.
fn is_missing_path(page: &Page, code: &str, word: &str) -> bool {
    let (folder, _) = word.split_once('/').unwrap_or_default();
    let has_folder = !folder.is_empty() && has_path(root(), folder);
    if !has_folder && !EXTENSIONS.iter().any(|extension| word.ends_with(extension)) {
        return false;
    }
    // A command runs in the top folder. A path in a sentence may start at the page or its sources.
    let page_path = root().join(&page.path);
    let folders = if code.contains(' ') { vec![] } else { vec!["", "src", "examples"] };
    let mut folders = folders.iter().map(|folder| page_path.with_file_name(folder));
    !has_path(root(), word) && !folders.any(|folder| has_path(&folder, word))
}

/// Returns whether `path` exists in `folder`. One `*` in the path matches any characters.
fn has_path(folder: &Path, path: &str) -> bool {
    let Some((before, after)) = path.split_once('*') else { return folder.join(path).exists() };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let Ok(entries) = fs::read_dir(folder.join(parent)) else { return false };
    entries.flatten().any(|entry| {
        entry.file_name().to_string_lossy().starts_with(prefix)
            && entry.path().join(after.trim_start_matches('/')).exists()
    })
}

/// Returns the links of `page` without a target. Links to the web are not checked.
pub fn find_dead_links(page: &Page) -> Vec<String> {
    let mut problems = Vec::new();
    for (link, place) in page.links.iter().filter(|(link, _)| !link.starts_with("https://")) {
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let page_path = root().join(&page.path);
        let target = if path.is_empty() { page_path } else { page_path.with_file_name(path) };
        // An anchor in a recorded run is one of its states, and the tests of `board` check it.
        let has_anchor = anchor.is_empty() || path.ends_with(".html") || {
            let text = fs::read_to_string(&target).unwrap_or_default();
            Page::parse("", &text).anchors.iter().any(|found| found == anchor)
        };
        if !target.exists() || !has_anchor {
            problems.push(format!("{place}: {link:?} has no target"));
        }
    }
    problems
}

/// Returns the cases that differ between `check` and the table with the column "case of `check`".
pub fn find_wrong_cases(page: &Page) -> Vec<String> {
    let lines = page.text.lines().skip_while(|line| !line.contains("| case of `check` |"));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(4));
    // The names are the code spans of the cell.
    let page_names: BTreeSet<&str> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let code_names: BTreeSet<&str> = check::cases().map(|case| case.name).collect();
    let mut problems = Vec::new();
    for name in page_names.symmetric_difference(&code_names) {
        let place = if code_names.contains(name) { "code" } else { "table" };
        problems.push(format!("{}: the case {name:?} is only in the {place}", page.path));
    }
    problems
}

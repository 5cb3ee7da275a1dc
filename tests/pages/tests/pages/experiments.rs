//! The experiments that change the code: a block `diff experiment=FILE test=TARGET red=NAME,NAME`, or
//! without `test` where the code is only run.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::markdown::{Block, Document, read};
use crate::names::Workspace;
use harness::root;

/// The experiments of a page.
pub fn of(document: &Document) -> impl Iterator<Item = &Block> {
    document.blocks.iter().filter(|block| block.attribute("experiment").is_some())
}

/// The file of the experiment, with the change made.
fn changed(block: &Block) -> Result<String, String> {
    let file = block.attribute("experiment").unwrap_or_default();
    let side = |sign: char| -> String {
        let lines = block.text.lines().filter(|line| line.starts_with([' ', sign]));
        lines.map(|line| format!("{}\n", &line[1..])).collect()
    };
    let text = read(file);
    let (old, new) = (side('-'), side('+'));
    match text.matches(&old).count() {
        1 => Ok(text.replace(&old, &new)),
        found => Err(format!("{file} has the lines to change {found} times")),
    }
}

/// What is wrong with the experiments of `document`, without running them.
pub fn problems(document: &Document, workspace: &Workspace) -> Vec<String> {
    let mut problems = Vec::new();
    for block in of(document) {
        let mut problem = |words: String| {
            problems.push(format!("{}:{}: {words}", document.path, block.line));
        };
        if let Err(words) = changed(block) {
            problem(words);
        }
        let file = block.attribute("experiment").unwrap_or_default();
        let mut promised = vec![format!("git restore {file}")];
        let target = block.attribute("test").unwrap_or_default();
        if !target.is_empty() {
            promised.push(format!("cargo test -p steps --test {target}"));
        }
        for red in red(block) {
            if !workspace.has_test(target, &red) {
                problem(format!("{target} has no test {red}"));
            }
            promised.push(red);
        }
        let told = |code: &String| document.passages.iter().any(|told| told.code.contains(code));
        for code in promised.iter().filter(|code| !told(code)) {
            problem(format!("the page does not tell `{code}`"));
        }
    }
    problems
}

/// The tests that turn red.
fn red(block: &Block) -> BTreeSet<String> {
    let names = block.attribute("red").unwrap_or_default().split(',');
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Makes the change in a copy of the workspace, runs the tests that the page names, and expects
/// that those turn red of which it says so, and no others.
pub fn run(document: &Document, block: &Block) {
    let place = format!("{}:{}", document.path, block.line);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("experiment");
    let _ = fs::remove_dir_all(&folder);
    copy(root(), &folder);
    let file = block.attribute("experiment").unwrap_or_default();
    let text = changed(block).unwrap_or_else(|problem| panic!("{place}: {problem}"));
    fs::write(folder.join(file), text).expect("the copy can be written");

    let target = block.attribute("test");
    let arguments = match target {
        Some(target) => vec!["test", "--offline", "-p", "steps", "--test", target],
        None => vec!["check", "--offline", "--workspace", "--bins", "--examples"],
    };
    let tests = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("experiments"))
        .stdin(Stdio::null())
        .output()
        .expect("cargo starts");
    if target.is_none() {
        assert!(tests.status.success(), "{place}: it was expected to build");
        return;
    }
    let said = String::from_utf8_lossy(&tests.stdout);
    let failed = said.lines().filter_map(|line| {
        line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(str::to_owned)
    });
    let errors = String::from_utf8_lossy(&tests.stderr);
    assert!(said.contains("test result: "), "{place}: no test was run:\n{errors}");
    assert_eq!(failed.collect::<BTreeSet<_>>(), red(block), "{place}: the tests that turn red");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|error| panic!("{to:?}: {error}"));
    for entry in fs::read_dir(from).expect("a folder can be read").flatten() {
        let name = entry.file_name();
        let (from, to) = (entry.path(), to.join(&name));
        if from.is_file() {
            fs::copy(&from, &to).unwrap_or_else(|error| panic!("{from:?}: {error}"));
        } else if name != "target" && name != ".git" {
            copy(&from, &to);
        }
    }
}

//! The experiments that change the code: a block `diff experiment=FILE test=TARGET red=NAME,NAME`.
//! Without `test` the changed code only has to build.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use harness::{root, run};

use crate::markdown::{Block, Document, read};

/// Returns the file of the experiment and its text with the change.
fn changed(block: &Block) -> Result<(&str, String), String> {
    let file = block.attribute("experiment").unwrap_or_default();
    let side = |sign: char| -> String {
        let lines = block.text.lines().filter(|line| line.starts_with([' ', sign]));
        lines.map(|line| format!("{}\n", &line[1..])).collect()
    };
    let text = read(file);
    let (old, new) = (side('-'), side('+'));
    match text.matches(&old).count() {
        1 => Ok((file, text.replace(&old, &new))),
        found => Err(format!("{}: {file} has the lines to change {found} times", block.place)),
    }
}

/// Returns the names of the tests that fail after the change.
fn red(block: &Block) -> BTreeSet<String> {
    let names = block.attribute("red").unwrap_or_default().split(',');
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Returns what is wrong with the experiments of `document`, without running them.
pub fn problems(document: &Document) -> Vec<String> {
    let mut problems = Vec::new();
    for block in document.blocks_with("experiment") {
        let mut promised = Vec::new();
        match changed(block) {
            Ok((file, _)) => promised.push(format!("git restore {file}")),
            Err(problem) => problems.push(problem),
        }
        if let Some(target) = block.attribute("test") {
            promised.push(format!("cargo test -p steps --test {target}"));
            let tests = read(&format!("tests/steps/tests/{target}.rs"));
            for test in red(block) {
                if !tests.contains(&format!("fn {test}()")) {
                    problems.push(format!("{}: {target} has no test {test}", block.place));
                }
                promised.push(test);
            }
        }
        for code in promised {
            if !document.spans.iter().any(|(span, _)| span.contains(&code)) {
                problems.push(format!("{}: the page does not mention `{code}`", block.place));
            }
        }
    }
    problems
}

/// Makes the change in a copy of the workspace, runs the tests that the page names, and expects
/// that exactly those fail that the page says.
pub fn run_tests(block: &Block) {
    let place = &block.place;
    let target_folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = target_folder.join("experiment");
    let _ = fs::remove_dir_all(&folder); // there is none the first time
    copy(root(), &folder);
    let (file, text) = changed(block).unwrap_or_else(|problem| panic!("{problem}"));
    fs::write(folder.join(file), text).expect("the copy can be written");

    let target = block.attribute("test");
    let arguments = match target {
        Some(target) => vec!["test", "--offline", "-p", "steps", "--test", target],
        None => vec!["check", "--offline", "--workspace", "--bins", "--examples"],
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).current_dir(&folder);
    cargo.env("CARGO_TARGET_DIR", target_folder.join("experiments"));
    let cargo = run(&mut cargo).expect("cargo starts");
    let errors = String::from_utf8_lossy(&cargo.stderr);
    if target.is_none() {
        assert!(cargo.status.success(), "{place}: the changed code does not build:\n{errors}");
        return;
    }
    let output = String::from_utf8_lossy(&cargo.stdout);
    assert!(output.contains("test result: "), "{place}: no test ran:\n{errors}");
    let failed = output.lines().filter_map(|line| {
        line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(str::to_owned)
    });
    assert_eq!(failed.collect::<BTreeSet<_>>(), red(block), "{place}: the tests that fail");
}

/// Copies the folder `from`, without git's files and build results.
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

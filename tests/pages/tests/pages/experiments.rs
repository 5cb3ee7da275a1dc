//! The diffs that change the code: a block `diff experiment=FILE`, with `...` between two places.
//!
//! The changed code has to build. With `refused=CODE` the compiler rejects it instead, in the words
//! that a `text` block of the page shows. With `test=TARGET red=NAME,NAME` exactly these tests fail.
//! With `fails=CASE,CASE` these cases of `check` fail, with a `-` for each blank in their names; with
//! `fails=` no case fails. With `ends-with=LINE` the server ends a conversation at that line.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use check::{Setup, Verdict};
use harness::{ServerCommand, TIMEOUT, free_port, root, run};

use crate::markdown::{Block, Document, read};

/// Returns the file of the experiment and its text with the change.
fn changed(block: &Block) -> Result<(&str, String), String> {
    let file = block.attribute("experiment").unwrap_or_default();
    let mut text = read(file);
    for part in block.text.split("...\n") {
        let side = |sign: char| -> String {
            let lines =
                part.lines().filter(|line| line.is_empty() || line.starts_with([' ', sign]));
            lines.map(|line| format!("{}\n", line.get(1..).unwrap_or_default())).collect()
        };
        let old = side('-');
        let found = text.matches(&old).count();
        if found != 1 {
            return Err(format!("{}: {file} has these lines {found} times:\n{old}", block.place));
        }
        text = text.replace(&old, &side('+'));
    }
    Ok((file, text))
}

/// Returns the names in a list of a block.
fn names(block: &Block, key: &str) -> BTreeSet<String> {
    let names = block.attribute(key).unwrap_or_default().split(',');
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
            for test in names(block, "red") {
                if !tests.contains(&format!("fn {test}()")) {
                    problems.push(format!("{}: {target} has no test {test}", block.place));
                }
                promised.push(test);
            }
        }
        if !names(block, "fails").is_empty() {
            promised.extend(cases(block).iter().map(|case| case.name.to_owned()));
        }
        promised.retain(|code| !document.spans.iter().any(|(span, _)| span.contains(code)));
        let place = &block.place;
        problems.extend(promised.iter().map(|code| format!("{place}: no `{code}` on the page")));
    }
    problems
}

/// Makes the change in a copy of the workspace, and expects what the page says.
pub fn run_experiment(document: &Document, block: &Block) {
    let place = &block.place;
    let target_folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = target_folder.join("experiment");
    let _ = fs::remove_dir_all(&folder); // there is none the first time
    copy(root(), &folder);
    let (file, text) = changed(block).unwrap_or_else(|problem| panic!("{problem}"));
    fs::write(folder.join(file), text).expect("the copy can be written");

    let target = block.attribute("test");
    let arguments = match target {
        Some(target) => vec!["test", "-p", "steps", "--test", target],
        None => vec!["build", "-p", "step1-blocking", "-p", "step3-select", "--bins", "--examples"],
    };
    let mut cargo = Command::new(env!("CARGO"));
    let target_folder = target_folder.join("experiments");
    cargo.args(arguments).arg("--offline").current_dir(&folder);
    let cargo = run(cargo.env("CARGO_TARGET_DIR", &target_folder)).expect("cargo starts");
    let errors = String::from_utf8_lossy(&cargo.stderr);
    let output = String::from_utf8_lossy(&cargo.stdout);
    if let Some(code) = block.attribute("refused") {
        let error = errors.lines().find(|line| line.starts_with("error[")).unwrap_or_default();
        let is_on_page = document.blocks_in("text").any(|block| block.text.trim() == error);
        assert!(error.contains(code) && is_on_page, "{place}: the compiler printed\n{errors}");
    } else if target.is_some() {
        assert!(output.contains("test result: "), "{place}: no test ran:\n{errors}");
        let failed = output.lines().filter_map(|line| line.strip_suffix(" ... FAILED"));
        let failed: BTreeSet<_> = failed.map(|line| line.replace("test ", "")).collect();
        assert_eq!(failed, names(block, "red"), "{place}: the tests that fail");
    } else {
        assert!(cargo.status.success(), "{place}: the changed code does not build:\n{errors}");
        if block.attribute("fails").is_some() {
            run_cases(block, &target_folder.join("debug/step3-select"));
        }
    }
}

/// Returns the cases of `check` that the block says fail, or all if it says that no case fails.
fn cases(block: &Block) -> Vec<&'static check::Case> {
    let named = names(block, "fails");
    let is_named = |case: &&check::Case| named.contains(&case.name.replace(' ', "-"));
    let cases: Vec<_> = check::all().filter(|case| named.is_empty() || is_named(case)).collect();
    assert!(cases.len() >= named.len(), "{}: `check` has no such case", block.place);
    cases
}

/// Runs the cases of `check` on the changed server, and has the conversation that the block promises.
fn run_cases(block: &Block, server: &Path) {
    let start = || {
        let port = free_port().expect("a port is free");
        let words = [server.display().to_string(), "--port".to_owned(), port.to_string()];
        ServerCommand::from_words(words.to_vec(), port)
    };
    let is_failure_expected = !names(block, "fails").is_empty();
    for case in cases(block) {
        let verdict = case.run(&Setup::new(start(), TIMEOUT / 5)).expect("the case runs");
        let is_expected = match verdict {
            Verdict::Pass(_) => !is_failure_expected,
            Verdict::Fail(_) => is_failure_expected,
            Verdict::Skipped(_) => true,
        };
        assert!(is_expected, "{}: \"{}\": {verdict:#?}", block.place, case.name);
    }
    let Some(last_line) = block.attribute("ends-with") else { return };
    let server = start().start();
    server.narration.wait_for_line(&format!("Listening on {}", server.addr));
    let mut client = server.connect();
    for request in [&*format!("{last_line}s\n"), &last_line[..2]] {
        client.send(request.as_bytes()).unwrap();
        client.receive().unwrap();
    }
    client.send(format!("{}\n", &last_line[2..]).as_bytes()).unwrap();
    client.expect_end().unwrap();
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

//! Checks the experiments. A block `diff experiment=FILE` is a change to FILE. A line `...` separates changes
//! in different parts of the file.
//!
//! Other attributes describe the result. Without one, the changed code only has to build.
//! - `compiler-error=NUMBER`: the compiler rejects the change, and a `text` block shows the error message.
//! - `test=TARGET failing-tests=NAME,NAME`: exactly these tests of `tests/steps/tests/TARGET.rs` fail.
//! - `failing-cases=CASE,CASE`: step 3 fails these cases of `check`. A `-` stands for a space in a name.
//!   If the list is empty, step 3 passes all cases.
//! - `disconnect-line=LINE`, only together with `failing-cases`: step 3 disconnects a client that sends LINE.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use check::{Case, Setup, Verdict};
use harness::{ServerCommand, TIMEOUT, free_port, root, run};

use crate::markdown::{Block, Page, read_file};

/// Returns the file of the experiment and its text with the change.
fn apply_change(block: &Block) -> Result<(&str, String), String> {
    let file = block.attribute("experiment").unwrap_or_default();
    let mut text = read_file(file);
    for part in block.text.split("...\n") {
        let side = |sign: char| -> String {
            let lines =
                part.lines().filter(|line| line.is_empty() || line.starts_with([' ', sign]));
            lines.map(|line| format!("{}\n", line.get(1..).unwrap_or_default())).collect()
        };
        let old = side('-');
        if text.matches(&old).count() != 1 {
            let place = &block.place;
            return Err(format!("{place}: expected these lines once in {file}:\n{old}"));
        }
        text = text.replace(&old, &side('+'));
    }
    Ok((file, text))
}

/// Returns the names in an attribute of a block, which are separated by commas.
fn attribute_list(block: &Block, key: &str) -> BTreeSet<String> {
    let names = block.attribute(key).unwrap_or_default().split(',');
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Returns the problems with the experiments of `page`, without running them.
pub fn find_problems(page: &Page) -> Vec<String> {
    let mut problems = Vec::new();
    for block in page.blocks_with("experiment") {
        let place = &block.place;
        // The commands and names that the page must contain.
        let mut required = attribute_list(block, "failing-tests");
        match apply_change(block) {
            Ok((file, _)) => _ = required.insert(format!("git restore {file}")),
            Err(problem) => problems.push(problem),
        }
        if let Some(target) = block.attribute("test") {
            let file = format!("tests/steps/tests/{target}.rs");
            let tests = read_file(&file);
            for test in &attribute_list(block, "failing-tests") {
                if !tests.contains(&format!("fn {test}()")) {
                    problems.push(format!("{place}: {file} has no test {test}"));
                }
            }
            required.insert(format!("cargo test -p steps --test {target}"));
        }
        if !attribute_list(block, "failing-cases").is_empty() {
            required.extend(select_cases(block).iter().map(|case| case.name.to_owned()));
        }
        for code in &required {
            if !page.code_spans.iter().any(|(span, _)| span.contains(code)) {
                problems.push(format!("{place}: expected `{code}` in a code span of the page"));
            }
        }
    }
    problems
}

/// Makes the change in a copy of the workspace, and expects the result on the page.
pub fn run_experiment(page: &Page, block: &Block) {
    let place = &block.place;
    let temporary_folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let workspace = temporary_folder.join("experiment");
    let target_folder = temporary_folder.join("experiments");
    let _ = fs::remove_dir_all(&workspace); // This fails the first time, because the folder does not exist.
    copy_workspace(&workspace);
    let (file, text) = apply_change(block).unwrap_or_else(|problem| panic!("{problem}"));
    fs::write(workspace.join(file), text).expect("cannot write the changed file");

    let target = block.attribute("test");
    let arguments = match target {
        Some(target) => vec!["test", "-p", "steps", "--test", target],
        None => vec!["build", "-p", "step1-blocking", "-p", "step3-select", "--bins", "--examples"],
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).arg("--offline").current_dir(&workspace);
    let cargo = run(cargo.env("CARGO_TARGET_DIR", &target_folder)).expect("cannot run cargo");
    let errors = String::from_utf8_lossy(&cargo.stderr);
    let output = String::from_utf8_lossy(&cargo.stdout);
    if let Some(code) = block.attribute("compiler-error") {
        let error = errors.lines().find(|line| line.starts_with("error[")).unwrap_or_default();
        let is_on_page = page.blocks_in("text").any(|block| block.text.trim() == error);
        let is_expected = error.contains(code) && is_on_page;
        assert!(is_expected, "{place}: expected the error {code} of the page, got\n{errors}");
    } else if target.is_some() {
        assert!(output.contains("test result: "), "{place}: expected a test run, got\n{errors}");
        let failed = output.lines().filter_map(|line| line.strip_suffix(" ... FAILED"));
        let failed_tests: BTreeSet<_> = failed.map(|line| line.replace("test ", "")).collect();
        let expected = attribute_list(block, "failing-tests");
        assert!(
            failed_tests == expected,
            "{place}: expected the failing tests {expected:?}, got {failed_tests:?}"
        );
    } else {
        assert!(cargo.status.success(), "{place}: the changed code does not build:\n{errors}");
        if block.attribute("failing-cases").is_some() {
            run_cases(block, &target_folder.join("debug/step3-select"));
        }
    }
}

/// Returns the cases of `check` that should fail, or all cases if none should.
fn select_cases(block: &Block) -> Vec<&'static Case> {
    let names = attribute_list(block, "failing-cases");
    let is_selected =
        |case: &&Case| names.is_empty() || names.contains(&case.name.replace(' ', "-"));
    let cases: Vec<_> = check::cases().filter(is_selected).collect();
    assert!(
        cases.len() >= names.len(),
        "{}: expected that `check` has the cases {names:?}",
        block.place
    );
    cases
}

/// Runs the cases of `check` against the changed server. Then expects that the server disconnects a client
/// that sends the line in `disconnect-line`.
fn run_cases(block: &Block, server: &Path) {
    let server_command = || {
        let port = free_port().expect("no port is free");
        let words = [server.display().to_string(), "--port".to_owned(), port.to_string()];
        ServerCommand::from_words(words.to_vec(), port)
    };
    let is_failure_expected = !attribute_list(block, "failing-cases").is_empty();
    for case in select_cases(block) {
        let verdict =
            case.run(&Setup::new(server_command(), TIMEOUT / 5)).expect("cannot run the case");
        let is_expected = match verdict {
            Verdict::Pass(_) => !is_failure_expected,
            Verdict::Fail(_) => is_failure_expected,
            Verdict::Skipped(_) => true,
        };
        let expected = if is_failure_expected { "a failure" } else { "a pass" };
        let (place, name) = (&block.place, case.name);
        assert!(is_expected, "{place}: \"{name}\": expected {expected}, got {verdict:#?}");
    }
    let Some(disconnect_line) = block.attribute("disconnect-line") else { return };
    let server = server_command().start();
    server.narration.wait_for_line(&format!("Listening on {}", server.addr));
    let mut client = server.connect();
    // First a longer line, which must not end the connection. Then the line in two parts.
    for request in [&*format!("{disconnect_line}s\n"), &disconnect_line[..2]] {
        client.exchange(request.as_bytes()).unwrap();
    }
    client.send(format!("{}\n", &disconnect_line[2..]).as_bytes()).unwrap();
    client.expect_end().unwrap();
}

/// Copies the workspace without git's files and build results.
fn copy_workspace(folder: &Path) {
    fs::create_dir_all(folder).expect("cannot create a folder");
    for entry in fs::read_dir(root()).expect("cannot read the workspace").flatten() {
        if !["target", ".git"].iter().any(|name| entry.file_name() == *name) {
            let copy = run(Command::new("cp").arg("-R").arg(entry.path()).arg(folder));
            assert!(copy.is_ok_and(|copy| copy.status.success()), "cannot copy {entry:?}");
        }
    }
}

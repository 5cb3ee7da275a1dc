//! Servers with mistakes that real authors made, and servers that differ from ours. `check` names the
//! mistake and the page about it, or describes the difference.

use std::path::Path;

use harness::{can_run, check_requirement, has_python};

use crate::{expect_no_problems, python_command, run_check};

const RESET: &str = "Read step3-select/HARDENING.md#a-client-that-resets\n";

/// The file, the case, and parts of what `check` prints. The first entry takes the longest.
pub const SPECIMENS: &[(&str, &str, &[&str])] = &[
    (
        "blocking_sendall.py",
        "a stalled reader",
        &["the server is still running", "HARDENING.md#a-client-that-never-reads\n"],
    ),
    (
        "reset_not_caught.py",
        "reset while silent",
        &["ConnectionResetError", "did not handle the error of recv or send", RESET],
    ),
    (
        "inverted_condition.py",
        "one message",
        &["closed the connection and is still running", "Read step1-blocking/README.md#run-it\n"],
    ),
    (
        "compares_with_none.py",
        "half-close",
        &["When recv returns 0 bytes", "HARDENING.md#the-end-of-the-stream\n"],
    ),
    ("shadows_module.py", "reset while silent", &["hides the module socket", RESET]),
    ("try_outside_loop.py", "reset while silent", &["the server printed: Server stopped", RESET]),
    (
        "blocking_recv.py",
        "a second client",
        &["blocked in recv for the new client", "HARDENING.md#a-call-that-blocks-the-loop\n"],
    ),
    (
        "fixed_port.py",
        "one message",
        &["the server listens on 127.0.0.1:", ", not on port ", ": run check with --port "],
    ),
    (
        "other_text.py",
        "many messages",
        &[
            "the greeting \"Welcome\\n\" first. The server responds with \"Hello world!\\r\\n\"",
            "pass\n",
        ],
    ),
    ("not_utf8.py", "ten clients", &["pass\n"]),
    ("echo.py", "a late reader", &["sends back what it receives", "pass: "]),
    (
        "upper.py",
        "one message",
        &["predict the responses: it got \"ECHO: HELLO\\n\" for \"hello\\n\" and ", "pass\n"],
    ),
    ("upper.py", "one piece", &["skipped: the response is not known in advance\n"]),
    ("sigpipe.c", "reset while queued", &["(SIGPIPE)", "Ignore that signal", RESET]),
    (
        "hundred_megabytes.py",
        "half-close",
        &["... (65536 bytes) for \"hello\\n\"", "more than 1 MiB"],
    ),
    ("dots.py", "one after the other", &["pass\n"]),
    ("backlog_5.py", "reset while queued", &["pass: the backlog holds "]),
    ("backlog_5.py", "a long message", &["pass\n"]),
    ("backlog_5.py", "output without a reader", &["pass\n"]),
    ("reads_to_end.py", "one message", &["only after the client half-closed the connection"]),
];

/// Returns the command that starts a specimen. None if this machine cannot build or run the specimen.
fn specimen_command(file: &str) -> Option<Vec<String>> {
    let Some(name) = file.strip_suffix(".c") else {
        return has_python()
            .then(|| python_command(&format!("check/tests/check/specimens/{file}")));
    };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check/specimens").join(file);
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let [source, binary] = [source, binary].map(|path| path.display().to_string());
    check_requirement("cc", can_run("cc", &["-o", &binary, &source])).then(|| vec![binary])
}

#[test]
fn specimens_get_the_expected_verdict_and_page() {
    expect_no_problems(SPECIMENS, |(file, case, expected)| {
        let words = [specimen_command(file)?, vec!["{port}".to_owned()]].concat();
        run_check(&["--only", *case], &words, expected)
    });
}

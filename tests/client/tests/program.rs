//! The client for those without `nc`.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use harness::{RESPONSE, Server, Step};

/// What the client does when that is typed.
fn client(flags: &[&str], typed: &[u8], stdout: impl Into<Stdio>) -> Output {
    let server = Server::start(Step::Select);
    let mut client = Command::new(env!("CARGO_BIN_EXE_client"));
    client.args(["--port", &server.addr.port().to_string()]).args(flags);
    let client = client.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped()).spawn();
    let mut client = client.expect("the client starts");
    let _it_has_ended = client.stdin.as_mut().expect("a pipe").write_all(typed);
    client.wait_with_output().expect("the client ends")
}

#[test]
fn the_client_sends_what_is_typed_whatever_its_bytes() {
    let output = client(&[], b"h\xff\nhi\n", Stdio::piped());
    assert!(output.status.success() && output.stdout.starts_with(RESPONSE), "{output:?}");
}

#[test]
fn a_client_whose_reader_leaves_does_not_panic() {
    for flags in [&[][..], &["--stall"], &["--crowd", "2"]] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let output = client(flags, b"hi\n", writer);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(1), ""), "client {flags:?}");
    }
}

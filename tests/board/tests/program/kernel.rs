//! Compares the screen with the state of the kernel.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use harness::{Signal, Step};

use crate::board::Board;

#[test]
fn sleep_shows_its_line_and_its_reason() {
    for step in [Step::Blocking, Step::Functions] {
        let mut board = Board::start(step);
        board.wait_until_idle();
        board.child().limit_file_descriptors(4);
        // The blocked call has already reserved its file descriptor. The next call finds none.
        board.connect().close().unwrap();
        let _client = board.connect();
        board.wait_for_text("The server is sleeping, because accept() failed.");
        board.wait_for_arrow("handle_accept_error(");
    }
}

#[test]
fn stopped_server_is_not_shown_as_blocked() {
    let mut board = Board::start(Step::Blocking);
    board.wait_until_idle();
    board.child().signal(Signal::STOP);
    board.wait_for_text("The server is stopped, for example by Ctrl-Z.");
    board.child().signal(Signal::CONT);
    board.wait_for_text("The server is blocked in ");
}

/// `table_equals_ss_with_random_clients` covers the other clients in the backlog.
#[test]
fn reset_client_is_marked_in_the_backlog() {
    let mut board = Board::start(Step::Blocking);
    let mut a = board.connect();
    a.request().unwrap();
    let mut b = board.connect();
    b.send(b"hello\n").unwrap();
    board.wait_for_row(&["B", &b.addr().to_string(), "6"]);
    b.reset().unwrap();
    board.wait_for_row(&["B", "reset"]);
    board.wait_for_row(&["backlog:", "1"]);
    a.half_close().unwrap();
    board.wait_for_row(&["backlog:", "0"]);
    board.wait_for_row(&["accepted:", "0"]);
}

/// The bytes and the status of each client by address, and the length of the backlog.
type Table = (BTreeMap<SocketAddr, String>, usize);

/// Reads the table of ss(8), which counts the end of a stream as one byte.
fn read_ss(port: u16) -> Table {
    let run_ss = |flags: &str| {
        let mut command = Command::new("ss");
        let output =
            command.args([flags, &format!("sport = :{port}")]).output().expect("output of ss");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let mut clients = BTreeMap::new();
    for row in run_ss("-Htn").lines() {
        let [state, unread, unacked, _, peer] = row.split_whitespace().collect::<Vec<_>>()[..]
        else {
            panic!("expected five columns of ss, got {row}");
        };
        let text = match (state, unread, unacked) {
            ("ESTAB", unread, "0") => unread.to_owned(),
            ("ESTAB", unread, unacked) => format!("{unread}+{unacked}"),
            ("CLOSE-WAIT", "0" | "1", _) => "closed".to_owned(),
            ("CLOSE-WAIT", unread, _) => {
                format!("{} closed", unread.parse::<u64>().expect("a number of bytes") - 1)
            }
            _ => continue,
        };
        clients.insert(peer.parse().expect("an address"), text);
    }
    let backlog = run_ss("-Hltn").split_whitespace().nth(1).expect("the column Recv-Q").parse();
    (clients, backlog.expect("the length of the backlog"))
}

/// Reads the table on the screen, without reset clients.
fn read_table(rows: &[String]) -> Option<Table> {
    let rows = rows.iter().filter_map(|row| row.split_once('│'));
    let rows: Vec<Vec<&str>> = rows.map(|(_, row)| row.split_whitespace().collect()).collect();
    let backlog = rows.iter().find(|row| row.first() == Some(&"backlog:"))?;
    let mut clients = BTreeMap::new();
    for row in &rows {
        if let [_, addr, bytes @ .., _] = row.as_slice()
            && let Ok(addr) = addr.parse()
            && bytes != ["reset"]
        {
            clients.insert(addr, bytes.join(" "));
        }
    }
    Some((clients, backlog.get(1)?.parse().ok()?))
}

#[test]
fn table_equals_ss_with_random_clients() {
    for step in [Step::Blocking, Step::Select] {
        // All clients fit into one column, so no address is shortened.
        let mut board = Board::start_with(step, &["env"], &[], (100, 160));
        let mut clients = vec![board.connect()];
        board.wait_for_row(&["accepted:", "1"]);
        let port = board.addr().port();
        for iteration in 0..12 {
            for _ in 0..fastrand::usize(1..6) {
                let mut client = board.connect();
                client.send(&vec![b'x'; fastrand::usize(1..20)]).unwrap();
                clients.push(client);
            }
            // Keep the first client, because the server of step 1 is blocked in recv() on its socket.
            for _ in 0..fastrand::usize(0..4).min(clients.len() - 1) {
                let client = clients.swap_remove(fastrand::usize(1..clients.len()));
                if fastrand::bool() {
                    client.reset().unwrap();
                } else {
                    client.half_close().unwrap();
                }
            }
            board.wait_for(&format!("the table of ss in iteration {iteration}"), |rows| {
                (read_table(rows)? == read_ss(port)).then_some(())
            });
        }
    }
}

//! A client that floods while a polite one asks.

use harness::{MESSAGE, Server, Step};

/// How many request buffers full of bytes wait for the server; a receive buffer holds them.
const ROUNDS: usize = 10;

#[test]
fn a_client_that_floods_gets_one_recv_in_each_round_of_step_3_and_the_others_their_turn() {
    let server = Server::start(Step::Select);
    let mut flood = server.connect_and_request();
    let mut polite = server.connect_and_request();

    server.process().stop();
    flood.send(&[b'x'; ROUNDS * 4096]).unwrap();
    polite.send(MESSAGE).unwrap();
    server.process().resume();
    polite.receive().unwrap();
    flood.receive_many(ROUNDS).unwrap();

    let (flood, polite) = (flood.addr().to_string(), polite.addr().to_string());
    let said = server.end();
    let rounds: Vec<&String> = said.iter().filter(|line| line.starts_with("Ready to")).collect();
    let turn = rounds.iter().rposition(|line| line.contains(&polite)).unwrap_or(0);
    let (before, after) = rounds.split_at(turn + 1);
    let of_flood = |rounds: &[&String]| rounds.iter().filter(|line| line.contains(&flood)).count();
    // One for the first message, and at most one for what the polite one's turn came together with.
    assert!(
        of_flood(before) <= 2 && of_flood(after) >= ROUNDS - 1,
        "the polite client was expected to get its turn in the first round of ten: {rounds:#?}"
    );
}

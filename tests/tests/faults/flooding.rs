//! Clients that flood while a polite one asks.

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tests::{Client, Server, Start, Step};

use crate::{MESSAGE, the_next_is_served};

/// How many request buffers full of bytes wait for the server; a receive buffer holds them.
const ROUNDS: usize = 10;

#[test]
fn a_client_that_floods_gets_one_recv_in_each_round_of_step_3_and_the_others_their_turn() {
    let server = Server::start(Step::Select);
    let mut flood = server.connect();
    flood.ask();
    let mut polite = server.connect();
    polite.ask();

    server.process().stop();
    flood.send(&[b'x'; ROUNDS * 4096]);
    polite.send(MESSAGE);
    server.process().go_on();
    polite.receive_answer();
    flood.receive_answers(ROUNDS);

    let (flood, polite) = (flood.addr().to_string(), polite.addr().to_string());
    let said = server.stop();
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

/// Floods as fast as the server takes it, and reads what comes back, until told to stop.
fn flood(client: &Client, stop: &AtomicBool) {
    let mut stream = client.stream();
    let set = stream.set_nonblocking(true);
    set.unwrap_or_else(|error| panic!("{}: {error}", client.addr()));
    let (message, mut answers) = ([b'x'; 64 * 1024], [0; 64 * 1024]);
    let expect = |done: std::io::Result<usize>| match done {
        Ok(0) => panic!("{} was dropped for its flood", client.addr()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => {
            panic!("{} was dropped for its flood: {error}", client.addr())
        }
        Err(_) | Ok(_) => {}
    };
    while !stop.load(Ordering::Relaxed) {
        expect(stream.write(&message));
        expect(stream.read(&mut answers));
        thread::yield_now();
    }
}

#[test]
fn a_polite_client_keeps_getting_its_answers_while_others_flood() {
    for step in Step::STEPS {
        let mut server = Start::of(step).quiet().start();
        let mut polite = server.connect();
        polite.ask();
        let floods: Vec<Client> = (0..3).map(|_| server.connect()).collect();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for client in &floods {
                scope.spawn(|| flood(client, &stop));
            }
            (0..500).for_each(|_| polite.ask());
            stop.store(true, Ordering::Relaxed);
        });
        // At steps 1 and 2 it is their turn next: whoever comes now is served when they have left.
        polite.close();
        let mut next = server.connect();
        next.send(MESSAGE);
        drop(floods);
        next.receive_answer();
        next.close();
        the_next_is_served(&mut server);
    }
}

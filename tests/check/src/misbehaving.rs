//! A client misbehaves, and the server serves the others.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, MESSAGE, Response, StalledReader};

use crate::{Case, Deviation, Expecting, Failure, Outcome, Trial};

const BASE: Case =
    Case { section: "step3-select/HARDENING.md#a-client-that-never-reads", ..Case::BASE };

/// The number of clients that never read. TCP may stall one of them before the server blocks, but hardly
/// all of them.
const STALLED_CLIENTS: usize = 3;

/// The additional memory that the server may use for all clients that never read. A server that keeps
/// what it receives needs more. A garbage collector, or a process for each client, may need nearly as much.
const MAX_GROWTH_MIB: u64 = 128;

pub const CASES: &[Case] = &[
    Case {
        name: "a stalled reader",
        question: "Clients send and never read. Are other clients served, and is the memory of the server bounded?",
        by_hand: "cargo run --bin client -- --port {port} --stall\nIn a third terminal: nc 127.0.0.1 {port}\nType hello and press Enter.",
        run: stall_readers,
        ..BASE
    },
    Case {
        name: "a late reader",
        question: "A client sends without reading until send blocks, then it reads. Are its responses complete?",
        by_hand: "bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; yes hello >&3 & sleep 2; kill $!; timeout 2 cat <&3 | uniq -c'",
        is_exact: true,
        run: read_late,
        ..BASE
    },
    Case {
        name: "flooding clients",
        question: "Clients send as fast as they can. Are other clients served?",
        by_hand: "nc 127.0.0.1 {port} < /dev/zero > /dev/null\nIn a third terminal: nc 127.0.0.1 {port}\nType hello and press Enter.",
        run: flood_server,
        ..BASE
    },
];

/// Connects a client that sends without reading. Returns it when `send` blocks.
fn stall(trial: &Trial, deadline: Instant) -> Result<StalledReader, Failure> {
    let client = StalledReader::connect(trial.server.addr).expecting("a connection")?;
    trial.kept_sockets.keep(client.stream());
    let mut client = client.with_deadline(deadline);
    match client.send_until_stuck() {
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(Failure::Untested(
            "the client could still send at the time limit of the case".to_owned(),
        )),
        // A server that receives everything, or disconnects the client, is not blocked either.
        _ => Ok(client),
    }
}

fn stall_readers(trial: &mut Trial) -> Outcome {
    let mut early_client = trial.connect_and_request("the first client")?;
    let memory_before_kib = trial.memory_kib();
    let start = Instant::now();
    // Stop early enough, so that the other clients have time left.
    let deadline = trial.deadline - 6 * trial.timeout;
    let stalled_clients = thread::scope(|scope| {
        let clients = [(); STALLED_CLIENTS].map(|()| scope.spawn(|| stall(trial, deadline)));
        let clients = clients.into_iter().map(|client| client.join().expect("a client thread"));
        clients.collect::<Result<Vec<StalledReader>, Failure>>()
    })?;
    trial.note(&format!("{STALLED_CLIENTS} other clients send and never read"));
    // Some servers disconnect a client after a while.
    let seconds = start.elapsed().as_secs();
    early_client.request().expecting(&format!(
        "a response to the first client, which was silent for {seconds} s while others never read"
    ))?;
    let mut late_client = trial.connect()?;
    for _ in 0..10 {
        late_client.request().expecting("a response to a new client while others never read")?;
    }
    let growth_kib = trial.memory_kib().saturating_sub(memory_before_kib);
    let sent: u64 = stalled_clients.iter().map(StalledReader::bytes_sent).sum();
    trial.kept_sockets.close_all();
    drop(stalled_clients);
    trial.note("the clients that never read disconnect");
    late_client.request().expecting("a response after the clients that never read disconnected")?;
    trial.expect_next_served("the stalled clients disconnected")?;
    trial.measurement = format!("{growth_kib} KiB more memory for {} MiB of requests", sent >> 20);
    if growth_kib <= MAX_GROWTH_MIB << 10 {
        return Ok(());
    }
    let expected = format!("at most {MAX_GROWTH_MIB} MiB more memory");
    Err(Failure::unexpected(&expected, &trial.measurement, Deviation::Measurement))
}

/// Expects complete responses, unless the server disconnects the client. A server that ignores how many
/// bytes `send` took loses a part of a response.
fn read_late(trial: &mut Trial) -> Outcome {
    trial.expect_served("the first client")?;
    let client = stall(trial, trial.deadline)?;
    trial.note("a client sends without reading until send blocks, then it reads");
    let sent = client.bytes_sent();
    let responses = match client.drain(&trial.protocol, trial.timeout) {
        Err(error)
            if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::NotConnected) =>
        {
            trial.measurement = "the server closed the connection".to_owned();
            return trial.expect_next_served("the server closed a connection");
        }
        responses => responses.expecting("complete responses and the end of the stream")?,
    };
    if responses == 0 || trial.protocol.response == Response::Echo && responses != sent {
        let actual = format!("{responses} responses to {sent} bytes");
        return Err(Failure::unexpected("complete responses", &actual, Deviation::WrongBytes));
    }
    trial.measurement = format!("{responses} responses");
    trial.expect_next_served("a client read its responses late")
}

/// Sends as fast as the server receives, and reads the responses, until `stop` is set.
fn flood(client: &Client, stop: &AtomicBool) -> io::Result<()> {
    let mut stream = client.stream();
    stream.set_nonblocking(true)?;
    let (message, mut responses) = (MESSAGE.repeat(10_000), [0; 64 * 1024]);
    let expect_connected = |result: io::Result<usize>| match result {
        Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the end of the stream")),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        Err(_) | Ok(_) => Ok(()),
    };
    while !stop.load(Ordering::Relaxed) {
        expect_connected(stream.write(&message))?;
        expect_connected(stream.read(&mut responses))?;
        thread::yield_now();
    }
    Ok(())
}

fn flood_server(trial: &mut Trial) -> Outcome {
    let mut other_client = trial.connect_and_request("the first client")?;
    let mut flooders = Vec::new();
    for _ in 0..3 {
        flooders.push(trial.connect()?);
    }
    let stop = AtomicBool::new(false);
    let (responses, floods) = thread::scope(|scope| {
        let mut threads = Vec::new();
        for client in &flooders {
            threads.push(scope.spawn(|| flood(client, &stop)));
        }
        // A server that handles each line has much to do, so stop after five seconds.
        let start = Instant::now();
        let mut requests = (0..500).take_while(|_| start.elapsed() < Duration::from_secs(5));
        let responses = requests.try_for_each(|_| other_client.request());
        stop.store(true, Ordering::Relaxed);
        let mut threads = threads.into_iter();
        let floods = threads.try_for_each(|thread| thread.join().expect("a client thread"));
        (responses, floods)
    });
    responses.expecting("a response to another client while three clients flood the server")?;
    floods.expecting("the flooding clients to stay connected")?;
    for client in flooders {
        client.reset().expecting("the client to reset its connection")?;
    }
    trial.expect_next_served("clients flooded the server")
}

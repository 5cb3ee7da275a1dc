//! The storm: all of it at once, from a printed seed. (The name comes first in the alphabet, and
//! with it the test: the others run while this one waits.)
//!
//! `STORM_SECONDS=3600` makes it longer, `STORM_SEED` repeats one.

use std::env;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use socket2::SockRef;
use tests::{Client, DEADLINE, Server, StalledReader, Start, Step};

use crate::{descriptors_allowed, the_next_is_served};

/// Polite clients, who count every byte.
const POLITE: usize = 16;

/// How long the storm lasts that is not measured: it lets the servers' memory grow to what they need.
const FIRST: Duration = Duration::from_secs(2);

/// How much memory may differ after a storm, in KiB.
const SLACK: u64 = 1024;

#[test]
fn a_storm_of_every_fault_among_polite_clients_leaves_the_servers_as_they_were() {
    if !descriptors_allowed(4096) {
        return;
    }
    let seconds = variable("STORM_SECONDS").unwrap_or(10);
    let seed = variable("STORM_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("STORM_SEED={seed} STORM_SECONDS={seconds}");

    let start = |step| Start::of(step).quiet().last_lines_logged().start();
    let mut servers = Step::STEPS.map(start);
    let open = servers.each_ref().map(descriptors);
    storm(&servers, seed, FIRST);
    let before = memory_afterwards(&servers, &open);
    storm(&servers, !seed, Duration::from_secs(seconds));
    let after = memory_afterwards(&servers, &open);

    for (server, (before, after)) in servers.iter_mut().zip(before.into_iter().zip(after)) {
        assert!(
            before.abs_diff(after) <= SLACK,
            "{} had {before} KiB in use after the first storm, and {after} KiB after the second",
            server.program()
        );
        let said = server.errors.text();
        assert!(!said.contains("panicked"), "{} panicked: {said}", server.program());
        the_next_is_served(server);
    }
}

fn variable(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value}: a number was expected")))
}

/// How many descriptors a server has open, on Linux: elsewhere nothing is compared.
fn descriptors(server: &Server) -> usize {
    #[cfg(target_os = "linux")]
    return server.process().descriptors().unwrap_or_default();
    #[cfg(not(target_os = "linux"))]
    return server.addr.port().into();
}

/// Waits until each server has as many descriptors open as before, and returns its memory in KiB.
fn memory_afterwards(servers: &[Server], open: &[usize]) -> Vec<u64> {
    let give_up = Instant::now() + DEADLINE;
    let settled = |(server, open): (&Server, &usize)| {
        // Whoever came before this one has been accepted, and its leaving has been seen.
        server.connect().ask();
        let mut now = descriptors(server);
        while now != *open {
            let step = server.program();
            assert!(Instant::now() < give_up, "{step} has {now} descriptors open, before {open}");
            thread::sleep(Duration::from_millis(5));
            now = descriptors(server);
        }
        server.process().memory()
    };
    servers.iter().zip(open).map(settled).collect()
}

/// Lets rude clients and polite ones loose on all `servers`.
fn storm(servers: &[Server], seed: u64, lasts: Duration) {
    let end = Instant::now() + lasts;
    let mut seeds = Rng::with_seed(seed);
    thread::scope(|scope| {
        for server in servers {
            // Where one is served at a time, the rude ones ahead of a polite one must leave first.
            let (polite, rude) = if server.blocks() { (1, 10) } else { (POLITE, 60) };
            for _ in 0..3 {
                let rng = seeds.fork();
                scope.spawn(move || be_rude(server.addr, rude, end, rng));
            }
            for _ in 0..polite {
                let rng = seeds.fork();
                scope.spawn(move || be_polite(server, POLITE / polite, end, rng));
            }
        }
    });
}

/// Polite clients, one after another, until `end` and at least `clients` of them.
fn be_polite(server: &Server, clients: usize, end: Instant, mut rng: Rng) {
    for number in 0.. {
        if number >= clients && Instant::now() >= end {
            return;
        }
        let mut client: Client = server.connect();
        for _ in 0..rng.u8(1..20) {
            client.ask();
            pause(&mut rng);
        }
        client.half_close();
        let more = client.receive_to_the_end();
        assert!(more.is_empty(), "{}: not one byte more was expected: {more:?}", server.program());
    }
}

/// So many rude clients at a time, until `end`; then all of them vanish.
fn be_rude(server: SocketAddr, clients: usize, end: Instant, mut rng: Rng) {
    let mut places: Vec<Option<TcpStream>> = (0..clients).map(|_| None).collect();
    while Instant::now() < end {
        if let Some(place) = rng.choice(&mut places) {
            *place = match place.take() {
                Some(stream) => be_rude_once(stream, &mut rng),
                None => connect(server, &mut rng).ok(),
            };
        }
        pause(&mut rng);
    }
}

/// Connects a client that is about to be rude; one in eight has no room for answers.
fn connect(server: SocketAddr, rng: &mut Rng) -> std::io::Result<TcpStream> {
    let stream = match rng.u8(0..8) {
        0 => StalledReader::connect(server)?.stream().try_clone()?,
        _ => TcpStream::connect_timeout(&server, DEADLINE)?,
    };
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// One deed of a rude client. Returns it unless it is gone. That a call fails is no news: the
/// server may have been faster.
fn be_rude_once(mut stream: TcpStream, rng: &mut Rng) -> Option<TcpStream> {
    let _ = match rng.u8(0..8) {
        0 => return None,
        1 => {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            return None;
        }
        2 => stream.shutdown(Shutdown::Write),
        3 => stream.write(&[b'x'; 64 * 1024]).map(drop),
        4 => stream.write(b"hel").map(drop),
        5 => stream.read(&mut [0; 64]).map(drop),
        _ => stream.write(b"hello\n").map(drop),
    };
    Some(stream)
}

fn pause(rng: &mut Rng) {
    thread::sleep(Duration::from_micros(rng.u64(0..4000)));
}

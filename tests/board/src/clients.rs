//! The clients of a server, as the kernel's table shows them.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::net::SocketAddr;
use std::time::Instant;

use harness::Process;
use harness::kernel::{TcpSocket, TcpState, tcp_sockets};

/// How many clients that have disconnected are remembered.
const REMEMBERED: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Open,
    /// It has closed its end, and the server has not closed the other one.
    Closed,
    /// The table no longer has the connection, but the backlog or the server still does.
    Reset,
}

#[derive(Debug, Clone)]
pub struct Client {
    /// A letter, or a letter and a number after Z.
    pub name: String,
    /// How many clients had been found before.
    number: usize,
    pub addr: SocketAddr,
    pub status: Status,
    pub unread: u64,
    pub unsent: u64,
    /// The number of the server's socket, 0 while the client is in the backlog.
    pub inode: u64,
    /// When it entered the backlog, or when it was accepted.
    pub since: Instant,
}

impl Client {
    pub fn is_queued(&self) -> bool {
        self.inode == 0
    }

    /// Returns whether a row of the table is this client's. An accepted client stays accepted. If
    /// not, a new client has its address.
    fn is_end_of(&self, socket: &TcpSocket) -> bool {
        self.status != Status::Reset && (self.is_queued() || self.inode == socket.inode)
    }

    fn show(&mut self, socket: &TcpSocket, now: Instant) {
        let is_closed = socket.state == TcpState::CloseWait;
        self.status = if is_closed { Status::Closed } else { Status::Open };
        (self.unread, self.unsent) = (socket.unread, socket.unsent);
        if self.inode != socket.inode {
            (self.inode, self.since) = (socket.inode, now);
        }
    }
}

/// A client whose connection has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    pub client: Client,
    pub at: Instant,
}

#[derive(Debug, Default)]
pub struct Clients {
    /// In the order in which they connected, as far as it is known.
    pub current: Vec<Client>,
    /// The last one is first.
    pub ended: VecDeque<Ended>,
    /// How many clients in the backlog had reset their connections before an update found them.
    pub unknown_resets: usize,
    pub listening_inode: u64,
    found: usize,
}

impl Clients {
    pub fn queued(&self) -> impl Iterator<Item = &Client> {
        self.current.iter().filter(|client| client.is_queued())
    }

    pub fn accepted(&self) -> impl Iterator<Item = &Client> {
        self.current.iter().filter(|client| !client.is_queued())
    }

    /// Counts as ss(8) does.
    pub fn backlog(&self) -> usize {
        self.queued().count() + self.unknown_resets
    }

    pub fn name_of_inode(&self, inode: u64) -> Option<&str> {
        if inode == self.listening_inode {
            return Some("server_socket");
        }
        self.accepted().find(|client| client.inode == inode).map(|client| client.name.as_str())
    }

    pub fn name_of_addr(&self, addr: SocketAddr) -> Option<&str> {
        let current = self.current.iter().rev().find(|client| client.addr == addr);
        let ended =
            || self.ended.iter().map(|ended| &ended.client).find(|client| client.addr == addr);
        current.map(|client| &client.name).or_else(|| Some(&ended()?.name)).map(String::as_str)
    }

    /// Reads the kernel's table, and recognizes the clients that were in it before. Returns whether
    /// this system has a table. `narrated` are the clients that the server has reported, in order.
    pub fn update(&mut self, addr: SocketAddr, server: Process, narrated: &[SocketAddr]) -> bool {
        let now = Instant::now();
        let Some((mut sockets, is_whole)) = read_table(addr) else { return false };
        let is_listening = |it: &&TcpSocket| it.state == TcpState::Listen && it.local == addr;
        let listening = sockets.iter().find(is_listening).copied();
        self.listening_inode = listening.map_or(0, |socket| socket.inode);
        let is_of_server =
            |it: &TcpSocket| addr.ip().is_unspecified() || it.local.ip() == addr.ip();
        sockets.retain(|socket| socket.is_open() && is_of_server(socket));
        if !cfg!(target_os = "linux") {
            for socket in &mut sockets {
                let was_accepted = self.accepted().any(|client| client.addr == socket.remote);
                if was_accepted || narrated.contains(&socket.remote) {
                    // There is no inode: the port stands for it.
                    socket.inode = socket.remote.port().into();
                }
            }
        }
        let queued = sockets.iter().filter(|socket| socket.inode == 0).count();
        let backlog = listening.map_or(0, |socket| usize::try_from(socket.unread).unwrap_or(0));
        let resets = backlog.saturating_sub(queued);
        let open_inodes: Vec<u64> = sockets.iter().map(|socket| socket.inode).collect();

        let mut open: HashMap<SocketAddr, TcpSocket> =
            sockets.into_iter().map(|socket| (socket.remote, socket)).collect();
        let (mut present, mut missing) = (Vec::new(), Vec::new());
        for mut client in mem::take(&mut self.current) {
            match open.get(&client.addr) {
                Some(socket) if client.is_end_of(socket) => {
                    client.show(socket, now);
                    open.remove(&client.addr);
                    present.push(client);
                }
                _ => missing.push(client),
            }
        }
        if is_whole {
            self.unknown_resets =
                resets.saturating_sub(missing.iter().filter(|it| it.is_queued()).count());
            if !missing.is_empty() {
                let held: Vec<u64> = server.inodes();
                missing = self.keep_resets(missing, resets, &held, &open_inodes, now);
            }
        }
        present.extend(missing);
        present.sort_by_key(|client| client.number);
        self.current = present;
        let mut new: Vec<TcpSocket> = open.into_values().collect();
        new.sort_by_key(|socket| {
            let position = narrated.iter().rposition(|addr| *addr == socket.remote);
            // A line that was not read yet is a newer one.
            (socket.inode == 0, position.unwrap_or(usize::MAX), socket.remote)
        });
        self.add_new(new, now);
        true
    }

    /// Adds clients with the ports 40000 and so on. The last one has closed.
    #[cfg(test)]
    pub fn add_examples(&mut self, accepted: usize, queued: usize) {
        for number in 0..accepted + queued {
            let is_last = number + 1 == accepted + queued;
            self.current.push(Client {
                name: client_name(number),
                number,
                addr: ([127, 0, 0, 1], 40_000 + u16::try_from(number).unwrap()).into(),
                status: if is_last { Status::Closed } else { Status::Open },
                unread: 123,
                unsent: 0,
                inode: u64::from(number < accepted),
                since: Instant::now(),
            });
        }
    }

    /// Decides which of the clients that are not in the table have been reset, and which have ended.
    /// `resets` is how many in the backlog are not in the table, `held` are the sockets of the
    /// server, and `open` the ones in the table.
    fn keep_resets(
        &mut self,
        missing: Vec<Client>,
        resets: usize,
        held: &[u64],
        open: &[u64],
        now: Instant,
    ) -> Vec<Client> {
        let (queued, accepted): (Vec<Client>, Vec<Client>) =
            missing.into_iter().partition(Client::is_queued);
        // Sockets of clients that the server has accepted since the last update.
        let mut unknown: Vec<u64> = held.to_vec();
        unknown.retain(|inode| {
            *inode != self.listening_inode
                && !open.contains(inode)
                && !accepted.iter().any(|client| client.inode == *inode)
        });
        let mut unknown = unknown.into_iter();
        // `accept` takes the oldest one, so the newest ones are still in the backlog.
        let taken = queued.len().saturating_sub(resets);
        let mut kept = Vec::new();
        for (position, mut client) in queued.into_iter().chain(accepted).enumerate() {
            let is_kept = if !client.is_queued() {
                held.contains(&client.inode)
            } else if position < taken {
                let inode = unknown.next();
                (client.inode, client.since) = (inode.unwrap_or(0), now);
                inode.is_some()
            } else {
                true
            };
            if is_kept {
                client.status = Status::Reset;
                kept.push(client);
            } else {
                self.ended.push_front(Ended { client, at: now });
            }
        }
        self.ended.truncate(REMEMBERED);
        kept
    }

    fn add_new(&mut self, sockets: Vec<TcpSocket>, now: Instant) {
        for socket in sockets {
            let mut client = Client {
                name: client_name(self.found),
                number: self.found,
                addr: socket.remote,
                status: Status::Open,
                unread: 0,
                unsent: 0,
                inode: socket.inode,
                since: now,
            };
            client.show(&socket, now);
            self.current.push(client);
            self.found += 1;
        }
    }
}

/// Reads the kernel's table, again if it has changed meanwhile: the kernel returns it in pieces, so a
/// connection can be missing or there twice. Returns whether two readings were equal.
fn read_table(addr: SocketAddr) -> Option<(Vec<TcpSocket>, bool)> {
    let mut last = sorted_table(addr)?;
    for _ in 0..5 {
        let table = sorted_table(addr)?;
        let connections = |table: &[TcpSocket]| -> Vec<_> {
            let listening = |it: &TcpSocket| (it.state == TcpState::Listen).then_some(it.unread);
            table.iter().map(|it| (it.remote, it.state, it.inode, listening(it))).collect()
        };
        let is_whole = connections(&table) == connections(&last);
        last = table;
        if is_whole {
            return Some((last, true));
        }
    }
    Some((last, false))
}

fn sorted_table(addr: SocketAddr) -> Option<Vec<TcpSocket>> {
    let mut table = tcp_sockets(addr)?;
    table.sort_by_key(|socket| (socket.remote, socket.inode));
    Some(table)
}

/// Returns A to Z, then A1 to Z1, A2 to Z2 and so on.
pub fn client_name(number: usize) -> String {
    let letter = ('A'..='Z').nth(number % 26).unwrap_or_default();
    if number < 26 { letter.to_string() } else { format!("{letter}{}", number / 26) }
}

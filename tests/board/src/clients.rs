//! The clients of a server, as the kernel's table shows them.

use std::collections::HashMap;
use std::mem;
use std::net::SocketAddr;
use std::time::Instant;

use harness::Server;
use harness::kernel::{TcpSocket, TcpState, tcp_sockets};
use serde::Serialize;

/// The number of disconnected clients that we keep.
const MAX_DISCONNECTED: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Status {
    Open,
    /// The client has closed its end, and the server has not closed its own.
    Closed,
    /// The kernel's table no longer has the connection, but the backlog or the server still has it.
    Reset,
}

#[derive(Debug, Clone, Serialize)]
pub struct Client {
    /// A letter. After Z, a letter and a number.
    pub name: String,
    /// The number of clients that we found before this one.
    #[serde(skip)]
    index: usize,
    #[serde(skip)]
    pub addr: SocketAddr,
    pub status: Status,
    pub unread: u64,
    pub unsent: u64,
    /// The inode of the server's socket for this client, or 0 while the client is in the backlog.
    #[serde(skip)]
    inode: u64,
    /// The time when we last saw the client connect, be accepted or disconnect.
    #[serde(skip)]
    pub since: Instant,
}

impl Client {
    pub fn is_in_backlog(&self) -> bool {
        self.inode == 0
    }

    /// Returns whether `socket` belongs to this client. A newer client can have the address of an older
    /// one.
    fn has_socket(&self, socket: &TcpSocket) -> bool {
        self.status != Status::Reset && (self.is_in_backlog() || self.inode == socket.inode)
    }

    fn update(&mut self, socket: &TcpSocket, now: Instant) {
        let is_closed = socket.state == TcpState::CloseWait;
        self.status = if is_closed { Status::Closed } else { Status::Open };
        (self.unread, self.unsent) = (socket.unread, socket.unacknowledged);
        if self.inode != socket.inode {
            (self.inode, self.since) = (socket.inode, now);
        }
    }
}

#[derive(Debug, Default)]
pub struct Clients {
    /// The address of the server, or None until it listens.
    pub addr: Option<SocketAddr>,
    /// False if this system does not show the kernel's table.
    pub has_table: bool,
    /// The connected clients, oldest first. Clients that we found at once can be in another order.
    pub current: Vec<Client>,
    /// The disconnected clients. The last one to disconnect is last.
    pub disconnected: Vec<Client>,
    /// The number of connections in the backlog that were reset before we saw their addresses.
    pub resets_without_addr: usize,
    listening_inode: u64,
    count: usize,
}

impl Clients {
    pub fn backlog(&self) -> impl Iterator<Item = &Client> {
        self.current.iter().filter(|client| client.is_in_backlog())
    }

    pub fn accepted(&self) -> impl Iterator<Item = &Client> {
        self.current.iter().filter(|client| !client.is_in_backlog())
    }

    /// Returns the length of the backlog, counted as ss(8) does.
    pub fn backlog_length(&self) -> usize {
        self.backlog().count() + self.resets_without_addr
    }

    pub fn name_of_inode(&self, inode: u64) -> Option<&str> {
        if inode == self.listening_inode {
            return Some("server_socket");
        }
        self.accepted().find(|client| client.inode == inode).map(|client| client.name.as_str())
    }

    pub fn name_of_addr(&self, addr: SocketAddr) -> Option<&str> {
        let mut newest_first = self.current.iter().rev().chain(self.disconnected.iter().rev());
        newest_first.find(|client| client.addr == addr).map(|client| client.name.as_str())
    }

    /// Reads the kernel's table, and matches its connections with the clients that we know.
    pub fn update(&mut self, server: &Server) {
        let now = Instant::now();
        let lines = server.narration.last_runs(1000);
        let addr_after = |start| {
            move |line: &harness::LineRun| -> Option<SocketAddr> {
                line.text.strip_prefix(start)?.parse().ok()
            }
        };
        self.addr = self.addr.or_else(|| lines.iter().find_map(addr_after("Listening on ")));
        let narrated: Vec<SocketAddr> =
            lines.iter().filter_map(addr_after("Connection from ")).collect();
        let Some(addr) = self.addr else { return };
        let Some((mut sockets, is_consistent)) = read_table(addr) else { return };
        self.has_table = true;
        let is_listening =
            |socket: &&TcpSocket| socket.state == TcpState::Listen && socket.local_addr == addr;
        let listening = sockets.iter().find(is_listening).copied();
        self.listening_inode = listening.map_or(0, |socket| socket.inode);
        sockets.retain(|socket| {
            let has_matching_ip = addr.ip().is_unspecified() || socket.local_addr.ip() == addr.ip();
            socket.is_open() && has_matching_ip
        });
        if !cfg!(target_os = "linux") {
            for socket in &mut sockets {
                let is_accepted = self.accepted().any(|client| client.addr == socket.peer_addr);
                if is_accepted || narrated.contains(&socket.peer_addr) {
                    // This system shows no inodes, so we use the port as one.
                    socket.inode = socket.peer_addr.port().into();
                }
            }
        }
        let waiting = sockets.iter().filter(|socket| socket.inode == 0).count();
        let backlog = listening.map_or(0, |socket| usize::try_from(socket.unread).unwrap_or(0));
        let mut known_inodes: Vec<u64> = sockets.iter().map(|socket| socket.inode).collect();
        known_inodes.push(self.listening_inode);

        let mut open: HashMap<SocketAddr, TcpSocket> =
            sockets.into_iter().map(|socket| (socket.peer_addr, socket)).collect();
        let mut missing = Vec::new();
        for mut client in mem::take(&mut self.current) {
            match open.get(&client.addr) {
                Some(socket) if client.has_socket(socket) => {
                    client.update(socket, now);
                    open.remove(&client.addr);
                    self.current.push(client);
                }
                _ => missing.push(client),
            }
        }
        if is_consistent {
            let mut inodes =
                if missing.is_empty() { Vec::new() } else { server.process().socket_inodes() };
            known_inodes.extend(missing.iter().map(|client| client.inode));
            let resets = backlog.saturating_sub(waiting);
            self.update_missing(missing, resets, &mut inodes, &known_inodes, now);
        } else {
            self.current.extend(missing);
        }
        self.current.sort_by_key(|client| client.index);
        let mut new: Vec<TcpSocket> = open.into_values().collect();
        new.sort_by_key(|socket| {
            let position = narrated.iter().rposition(|addr| *addr == socket.peer_addr);
            // A client that is not in the narration yet is newer than the others.
            (socket.inode == 0, position.unwrap_or(usize::MAX), socket.peer_addr)
        });
        self.add_new(new, now);
    }

    /// Decides which clients that are missing from the table have reset their connections, and which
    /// have disconnected. `resets` is the number of connections in the backlog that are missing from
    /// the table. `inodes` are those of all sockets of the server.
    fn update_missing(
        &mut self,
        missing: Vec<Client>,
        resets: usize,
        inodes: &mut Vec<u64>,
        known_inodes: &[u64],
        now: Instant,
    ) {
        let waiting = missing.iter().filter(|client| client.is_in_backlog()).count();
        self.resets_without_addr = resets.saturating_sub(waiting);
        let mut accepted = waiting.saturating_sub(resets);
        for mut client in missing {
            let mut is_connected = client.is_in_backlog() || inodes.contains(&client.inode);
            // `accept` takes the oldest connection from the backlog.
            if client.is_in_backlog() && accepted > 0 {
                accepted -= 1;
                let new = inodes.iter().position(|inode| !known_inodes.contains(inode));
                client.inode = new.map_or(0, |position| inodes.remove(position));
                client.since = now;
                is_connected = !client.is_in_backlog();
            }
            if is_connected {
                client.status = Status::Reset;
                self.current.push(client);
            } else {
                self.disconnected.push(Client { since: now, ..client });
            }
        }
        let surplus = self.disconnected.len().saturating_sub(MAX_DISCONNECTED);
        self.disconnected.drain(..surplus);
    }

    fn add_new(&mut self, sockets: Vec<TcpSocket>, now: Instant) {
        for socket in sockets {
            let letter = char::from(b'A' + u8::try_from(self.count % 26).unwrap_or_default());
            let cycle = self.count / 26;
            let mut client = Client {
                name: if cycle == 0 { letter.to_string() } else { format!("{letter}{cycle}") },
                index: self.count,
                addr: socket.peer_addr,
                status: Status::Open,
                unread: 0,
                unsent: 0,
                inode: socket.inode,
                since: now,
            };
            client.update(&socket, now);
            self.current.push(client);
            self.count += 1;
        }
    }
}

/// Reads the kernel's table until two consecutive reads are equal, and returns whether they were. The
/// kernel returns the table in pieces, so a connection can be missing or appear twice.
fn read_table(addr: SocketAddr) -> Option<(Vec<TcpSocket>, bool)> {
    let mut last = read_sorted_table(addr)?;
    for _ in 0..5 {
        let table = read_sorted_table(addr)?;
        let connections = |table: &[TcpSocket]| -> Vec<_> {
            let row = |socket: &TcpSocket| {
                let backlog = (socket.state == TcpState::Listen).then_some(socket.unread);
                (socket.peer_addr, socket.state, socket.inode, backlog)
            };
            table.iter().map(row).collect()
        };
        let is_consistent = connections(&table) == connections(&last);
        last = table;
        if is_consistent {
            return Some((last, true));
        }
    }
    Some((last, false))
}

fn read_sorted_table(addr: SocketAddr) -> Option<Vec<TcpSocket>> {
    let mut table = tcp_sockets(addr)?;
    table.sort_by_key(|socket| (socket.peer_addr, socket.inode));
    Some(table)
}

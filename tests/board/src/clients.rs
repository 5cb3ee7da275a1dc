//! The clients of a server, as the kernel's table of TCP sockets shows them.

use std::collections::HashMap;
use std::mem;
use std::net::SocketAddr;
use std::time::Instant;

use harness::kernel::{TcpSocket, TcpState, tcp_sockets};
use harness::{LineRun, Server};
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
    pub unread_bytes: u64,
    pub unacknowledged_bytes: u64,
    /// The inode of the server's socket for this client, or 0 while the client is in the backlog.
    #[serde(skip)]
    inode: u64,
    /// The time when we last saw the client connect, be accepted or disconnect.
    #[serde(skip)]
    pub last_change: Instant,
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
        (self.unread_bytes, self.unacknowledged_bytes) = (socket.unread, socket.unacknowledged);
        if self.inode != socket.inode {
            (self.inode, self.last_change) = (socket.inode, now);
        }
    }
}

#[derive(Debug, Default)]
pub struct Clients {
    /// The address of the server, or None until it listens.
    pub server_addr: Option<SocketAddr>,
    /// False if this system does not show the kernel's table.
    pub is_table_available: bool,
    /// The connected clients, oldest first. Clients of the same update can be in any order.
    pub connected_clients: Vec<Client>,
    /// The disconnected clients. The last one to disconnect is last.
    pub disconnected_clients: Vec<Client>,
    /// The number of connections in the backlog that were reset before we saw their addresses.
    pub unseen_reset_count: usize,
    listening_inode: u64,
    client_count: usize,
}

impl Clients {
    pub fn backlog(&self) -> impl Iterator<Item = &Client> {
        self.connected_clients.iter().filter(|client| client.is_in_backlog())
    }

    pub fn accepted(&self) -> impl Iterator<Item = &Client> {
        self.connected_clients.iter().filter(|client| !client.is_in_backlog())
    }

    /// Returns the length of the backlog, counted as ss(8) does.
    pub fn backlog_length(&self) -> usize {
        self.backlog().count() + self.unseen_reset_count
    }

    pub fn socket_name(&self, inode: u64) -> Option<&str> {
        if inode == self.listening_inode {
            return Some("server_socket");
        }
        self.accepted().find(|client| client.inode == inode).map(|client| client.name.as_str())
    }

    pub fn client_name(&self, addr: SocketAddr) -> Option<&str> {
        let mut newest_first =
            self.connected_clients.iter().rev().chain(self.disconnected_clients.iter().rev());
        newest_first.find(|client| client.addr == addr).map(|client| client.name.as_str())
    }

    /// Reads the kernel's table, and matches its connections with the clients that we know.
    pub fn update(&mut self, server: &Server) {
        let now = Instant::now();
        let lines = server.narration.last_runs(1000);
        if self.server_addr.is_none() {
            self.server_addr = lines.iter().find_map(|line| parse_addr(line, "Listening on "));
        }
        let narrated_addrs: Vec<SocketAddr> =
            lines.iter().filter_map(|line| parse_addr(line, "Connection from ")).collect();
        let Some(addr) = self.server_addr else { return };
        let Some((mut sockets, is_consistent)) = read_table(addr) else { return };
        self.is_table_available = true;
        let is_listening =
            |socket: &&TcpSocket| socket.state == TcpState::Listen && socket.local_addr == addr;
        let listening_socket = sockets.iter().find(is_listening).copied();
        self.listening_inode = listening_socket.map_or(0, |socket| socket.inode);
        sockets.retain(|socket| {
            let has_matching_ip = addr.ip().is_unspecified() || socket.local_addr.ip() == addr.ip();
            socket.is_open() && has_matching_ip
        });
        if !cfg!(target_os = "linux") {
            for socket in &mut sockets {
                let is_accepted = self.accepted().any(|client| client.addr == socket.peer_addr);
                if is_accepted || narrated_addrs.contains(&socket.peer_addr) {
                    // This system shows no inodes, so we use the port as one.
                    socket.inode = socket.peer_addr.port().into();
                }
            }
        }
        let waiting_count = sockets.iter().filter(|socket| socket.inode == 0).count();
        let backlog_length =
            listening_socket.map_or(0, |socket| usize::try_from(socket.unread).unwrap_or(0));
        let mut known_inodes: Vec<u64> = sockets.iter().map(|socket| socket.inode).collect();
        known_inodes.push(self.listening_inode);

        let mut open_sockets: HashMap<SocketAddr, TcpSocket> =
            sockets.into_iter().map(|socket| (socket.peer_addr, socket)).collect();
        let mut missing_clients = Vec::new();
        for mut client in mem::take(&mut self.connected_clients) {
            match open_sockets.get(&client.addr) {
                Some(socket) if client.has_socket(socket) => {
                    client.update(socket, now);
                    open_sockets.remove(&client.addr);
                    self.connected_clients.push(client);
                }
                _ => missing_clients.push(client),
            }
        }
        if is_consistent {
            let inodes =
                if missing_clients.is_empty() { vec![] } else { server.process().socket_inodes() };
            known_inodes.extend(missing_clients.iter().map(|client| client.inode));
            let reset_count = backlog_length.saturating_sub(waiting_count);
            self.sort_missing_clients(missing_clients, reset_count, &inodes, &known_inodes);
        } else {
            self.connected_clients.extend(missing_clients);
        }
        self.connected_clients.sort_by_key(|client| client.index);
        let mut new_sockets: Vec<TcpSocket> = open_sockets.into_values().collect();
        new_sockets.sort_by_key(|socket| {
            let position = narrated_addrs.iter().rposition(|addr| *addr == socket.peer_addr);
            // A client that is not in the narration yet is newer than the others.
            (socket.inode == 0, position.unwrap_or(usize::MAX), socket.peer_addr)
        });
        self.add_clients(new_sockets, now);
    }

    /// Decides whether each client that is missing from the table has reset its connection or
    /// disconnected. A connection that is reset leaves the table at once, but stays in the backlog until
    /// `accept` takes it. `reset_count` is the number of these connections in the backlog. `inodes` are
    /// those of all sockets of the server.
    fn sort_missing_clients(
        &mut self,
        missing_clients: Vec<Client>,
        reset_count: usize,
        inodes: &[u64],
        known_inodes: &[u64],
    ) {
        let now = Instant::now();
        let (mut in_backlog, mut accepted): (Vec<Client>, Vec<Client>) =
            missing_clients.into_iter().partition(Client::is_in_backlog);
        self.unseen_reset_count = reset_count.saturating_sub(in_backlog.len());
        // `reset_count` clients are still in the backlog. `accept` has taken the older ones.
        let accepted_count = in_backlog.len().saturating_sub(reset_count);
        let mut unknown_inodes = inodes.iter().filter(|inode| !known_inodes.contains(inode));
        for client in in_backlog.drain(..accepted_count) {
            let inode = unknown_inodes.next().copied().unwrap_or(0);
            accepted.push(Client { inode, last_change: now, ..client });
        }
        let mut reset_clients = in_backlog;
        for client in accepted {
            if inodes.contains(&client.inode) {
                reset_clients.push(client);
            } else {
                self.disconnected_clients.push(Client { last_change: now, ..client });
            }
        }
        for client in reset_clients {
            self.connected_clients.push(Client { status: Status::Reset, ..client });
        }
        let surplus = self.disconnected_clients.len().saturating_sub(MAX_DISCONNECTED);
        self.disconnected_clients.drain(..surplus);
    }

    fn add_clients(&mut self, sockets: Vec<TcpSocket>, now: Instant) {
        for socket in sockets {
            let index = self.client_count;
            let letter = char::from(b'A' + u8::try_from(index % 26).unwrap_or_default());
            let cycle = index / 26;
            let mut client = Client {
                name: if cycle == 0 { letter.to_string() } else { format!("{letter}{cycle}") },
                index,
                addr: socket.peer_addr,
                status: Status::Open,
                unread_bytes: 0,
                unacknowledged_bytes: 0,
                inode: socket.inode,
                last_change: now,
            };
            client.update(&socket, now);
            self.connected_clients.push(client);
            self.client_count += 1;
        }
    }
}

/// Returns the address that follows `start` in a line.
fn parse_addr(line: &LineRun, start: &str) -> Option<SocketAddr> {
    line.text.strip_prefix(start)?.parse().ok()
}

/// Reads the kernel's table until two consecutive reads have the same connections, but at most six times.
/// Returns the last table, and whether the last two had the same connections. The kernel returns the table
/// in pieces, so a connection can be missing or appear twice.
fn read_table(addr: SocketAddr) -> Option<(Vec<TcpSocket>, bool)> {
    let mut sockets = Vec::new();
    let mut last_connections = None;
    for _ in 0..6 {
        sockets = tcp_sockets(addr)?;
        sockets.sort_by_key(|socket| (socket.peer_addr, socket.inode));
        let mut connections = Vec::new();
        for socket in &sockets {
            let backlog = (socket.state == TcpState::Listen).then_some(socket.unread);
            connections.push((socket.peer_addr, socket.state, socket.inode, backlog));
        }
        let connections = Some(connections);
        if connections == last_connections {
            return Some((sockets, true));
        }
        last_connections = connections;
    }
    Some((sockets, false))
}

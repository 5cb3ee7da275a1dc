//! Step 2 as `async fn`, on a loop around `select()` like step 3's. `accept_connection` and
//! `send_message` have their own loops again, and `.await` stands at each call that blocked.
//!
//! Watch the second client: it gets its response at once. `Before recv()` now means that one
//! `send_message` waits, not the server. The server waits in `select()`, for all sockets.
//!
//! Calling an `async fn` runs none of its lines. The call returns a *future*: a value that holds
//! the function's variables and the place it has reached. `poll` means "go on from where you
//! stopped". It returns `Ready` when the function has ended, and `Pending` when it has to wait.
//!
//! Read from top to bottom: the two functions of step 2, the calls that they await, `WaitFor`, in
//! which every `.await` of this file ends, and `event_loop`, which calls `poll`.
//!
//! Three things of `src/main.rs` are left out. A client whose file descriptor does not fit an
//! `FdSet` is closed instead of left in the backlog. A server that is out of file descriptors
//! tries again after a second or two, even if a client disconnects sooner. And it does not print
//! which sockets are ready.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use common::{Room, narrate, report};
use nix::errno::Errno;
use nix::sys::select::{FD_SETSIZE, FdSet, select};
use nix::sys::time::TimeVal;

/// Accepts one client after the other, and serves each.
async fn accept_connection(server_socket: Socket<TcpListener>) {
    loop {
        narrate!("Before accept()");
        let (client_socket, addr) = match server_socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&server_socket, &error).await;
                continue;
            }
        };
        narrate!("Connection from {addr}");

        spawn(Box::pin(send_message(client_socket, addr)));
    }
}

/// Answers one client until it leaves.
async fn send_message(mut client_socket: Socket<TcpStream>, addr: SocketAddr) {
    loop {
        narrate!("Before recv()");
        let mut request = [0; 4096];
        // recv
        match client_socket.read(&mut request).await {
            Ok(0) => break,
            Ok(_) => {
                let response = b"Hello World\n";
                // send
                if let Err(error) = client_socket.write_all(response).await {
                    report!("{addr}: send: {error}");
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {} // by a signal: go on
            Err(error) => {
                report!("{addr}: recv: {error}"); // the client reset its connection
                break;
            }
        }
    }

    drop(client_socket); // close
}

/// A socket with calls that wait by `.await`. An `Rc`, because the event loop keeps the socket too
/// while a task waits for it.
struct Socket<S>(Rc<S>);

impl Socket<TcpListener> {
    async fn accept(&self) -> io::Result<(Socket<TcpStream>, SocketAddr)> {
        WaitFor(Some(Event::ToRead(self.0.clone()))).await;
        let (client_socket, addr) = self.0.accept()?;
        client_socket.set_nonblocking(true)?;
        // An `FdSet` panics at a file descriptor from `FD_SETSIZE` on.
        let fits = client_socket.as_raw_fd() < FD_SETSIZE as RawFd;
        if fits { Ok((Socket(Rc::new(client_socket)), addr)) } else { Err(Errno::EMFILE.into()) }
    }
}

impl Socket<TcpStream> {
    async fn read(&mut self, request: &mut [u8]) -> io::Result<usize> {
        loop {
            // Wait first, then make one call. If it made the call first, a client that sends
            // without end would always find it ready, and the task would never stop at `.await`.
            WaitFor(Some(Event::ToRead(self.0.clone()))).await;
            match self.0.as_ref().read(request) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {} // not ready after all
                result => return result,
            }
        }
    }

    async fn write_all(&mut self, mut unsent: &[u8]) -> io::Result<()> {
        while !unsent.is_empty() {
            // Here the call comes first, which saves a `select` for each response: the kernel
            // nearly always takes all twelve bytes, and the next `read` waits in any case.
            match self.0.as_ref().write(unsent) {
                Ok(count) => (_, unsent) = unsent.split_at(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    WaitFor(Some(Event::ToWrite(self.0.clone()))).await;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// `common::accept_failed`, but its second of sleep stops only this task.
async fn accept_failed(server_socket: &Socket<TcpListener>, error: &io::Error) {
    let lacks_room = common::lacks_room(&server_socket.0, error);
    let start = Instant::now();
    while lacks_room && start.elapsed() < Duration::from_secs(1) {
        WaitFor(Some(Event::Timeout)).await;
    }
}

/// What a task waits for: a socket that is ready to read or to write, or the next second.
enum Event {
    ToRead(Rc<dyn AsFd>),
    ToWrite(Rc<dyn AsFd>),
    Timeout,
}

/// The future in which every `.await` of this file ends. The first `poll` says what the task waits
/// for, and stops the task. `event_loop` polls it again when that has happened.
struct WaitFor(Option<Event>);

impl Future for WaitFor {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        let Some(event) = self.0.take() else { return Poll::Ready(()) };
        EVENT.set(Some(event));
        Poll::Pending
    }
}

/// The future of an `async fn` that `event_loop` polls. In a `Box`, because each has another size.
/// `Pin` promises that it stays at its place in memory, because its variables may refer to each other.
type Task = Pin<Box<dyn Future<Output = ()>>>;

// The tasks that can go on: new ones, and those whose event has happened.
thread_local!(static TASKS: RefCell<VecDeque<Task>> = const { RefCell::new(VecDeque::new()) });
// What the task that has just stopped waits for.
thread_local!(static EVENT: Cell<Option<Event>> = const { Cell::new(None) });

fn spawn(task: Task) {
    TASKS.with_borrow_mut(|tasks| tasks.push_back(task));
}

/// Lets each task go on until it waits, then waits for all sockets at once.
fn event_loop() -> io::Result<()> {
    // The waiting tasks under their file descriptors, each with its socket.
    let mut to_read: BTreeMap<RawFd, (Rc<dyn AsFd>, Task)> = BTreeMap::new();
    let mut to_write: BTreeMap<RawFd, (Rc<dyn AsFd>, Task)> = BTreeMap::new();
    let mut to_sleep: Vec<Task> = Vec::new();
    // `poll` takes a waker, with which something else could make a task go on. Here only `select`
    // does, and this loop knows which task waits for which socket.
    let mut context = Context::from_waker(Waker::noop());

    loop {
        while let Some(mut task) = TASKS.with_borrow_mut(VecDeque::pop_front) {
            let Poll::Pending = task.as_mut().poll(&mut context) else { continue };
            match EVENT.take() {
                Some(Event::ToRead(socket)) => {
                    to_read.insert(socket.as_fd().as_raw_fd(), (socket, task));
                }
                Some(Event::ToWrite(socket)) => {
                    to_write.insert(socket.as_fd().as_raw_fd(), (socket, task));
                }
                Some(Event::Timeout) => to_sleep.push(task),
                None => {} // nothing would make it go on: it is dropped here
            }
        }

        let (mut readfds, mut writefds) = (FdSet::new(), FdSet::new());
        for (list, set) in [(&to_read, &mut readfds), (&to_write, &mut writefds)] {
            for (socket, _task) in list.values() {
                set.insert(socket.as_fd());
            }
        }
        let highest = to_read.keys().chain(to_write.keys()).copied().max().unwrap_or(0);
        let mut second = (!to_sleep.is_empty()).then(|| TimeVal::new(1, 0));
        match select(highest + 1, &mut readfds, &mut writefds, None, second.as_mut()) {
            Err(Errno::EINTR) => continue, // a signal interrupted it: call it again
            result => result?,
        };

        let ready_to_read: Vec<_> = readfds.fds(Some(highest)).map(|it| it.as_raw_fd()).collect();
        let ready_to_write: Vec<_> = writefds.fds(Some(highest)).map(|it| it.as_raw_fd()).collect();
        for (list, ready) in [(&mut to_read, ready_to_read), (&mut to_write, ready_to_write)] {
            for sock in ready {
                let Some((_socket, task)) = list.remove(&sock) else { continue };
                spawn(task);
            }
        }
        to_sleep.drain(..).for_each(spawn);
    }
}

fn main() -> io::Result<()> {
    let server_socket = common::listen();
    let _ = Room::for_clients(&server_socket); // ends the server if not even one client fits
    server_socket.set_nonblocking(true)?;
    spawn(Box::pin(accept_connection(Socket(Rc::new(server_socket)))));
    event_loop()
}

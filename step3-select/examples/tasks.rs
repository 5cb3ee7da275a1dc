//! Step 2 as `async fn`, on an event loop of our own around `select()`. `accept_connection` and
//! `send_message` loop again, as in step 2. Each call that blocked there now has `.await`.
//!
//! Watch the second client. It gets its response at once, although the first client is still
//! connected. `Before recv()` now means that one `send_message` waits, not the server. The server
//! is blocked in `select()`, for all sockets.
//!
//! Calling an `async fn` runs none of its lines. The call returns a *future*: a value that holds the
//! variables of the function, and the place that the function has reached. Its `poll` means "go on
//! from where you stopped". `poll` returns `Poll::Ready` with the result when the function has ended,
//! and `Poll::Pending` when the function has to wait.
//!
//! `.await` polls the future on its left. If that future is `Pending`, the function around `.await`
//! stops there, and is `Pending` too. If it is `Ready`, its result is the value of `.await`.
//!
//! A *task* is a future that `event_loop` polls. There is one for `accept_connection`, and one for
//! each client. While a task is stopped, `event_loop` can poll the others.
//!
//! Read this file from top to bottom. After the two functions come the calls that they await. Each
//! of these calls awaits a `WaitFor`, which is a future too, but one that we write by hand. Last
//! comes `event_loop`.
//!
//! This server passes the cases of `check` except `more than FD_SETSIZE` and `a freed file descriptor`. It
//! differs from `src/main.rs`:
//!
//! - A client whose file descriptor does not fit an `FdSet` is closed, with one line on standard
//!   error. In `main.rs` such a client waits in the backlog.
//! - If no file descriptor is free, it prints a line and tries again one or two seconds later, over
//!   and over. It does not try sooner when a client disconnects.
//! - It does not print `Before select()`, nor which sockets are ready. If `select` fails, it does not
//!   print the server's address.

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

use common::{Capacity, narrate, report};
use nix::errno::Errno;
use nix::sys::select::{FD_SETSIZE, FdSet, select};
use nix::sys::time::TimeVal;

/// Accepts one client after another and serves each of them.
async fn accept_connection(server_socket: Socket<TcpListener>) {
    loop {
        narrate!("Before accept()");
        let (client_socket, addr) = match server_socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                handle_accept_error(&server_socket, &error).await;
                continue;
            }
        };
        narrate!("Connection from {addr}");

        // Without `.await`, so that the next `accept` does not wait for this client.
        spawn(Box::pin(send_message(client_socket, addr)));
    }
}

/// Serves one client until it disconnects.
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
            Err(error) if error.kind() == ErrorKind::Interrupted => {} // a signal: call recv again
            Err(error) => {
                report!("{addr}: recv: {error}"); // the client reset its connection
                break;
            }
        }
    }

    drop(client_socket); // close
}

/// A socket whose methods are `async fn`. It is in an `Rc`, because the event loop shares it while a
/// task waits for it. `std` can read and write with a shared `&TcpStream`.
struct Socket<S>(Rc<S>);

impl Socket<TcpListener> {
    async fn accept(&self) -> io::Result<(Socket<TcpStream>, SocketAddr)> {
        // Stop this task until a client has connected.
        WaitFor(Some(Event::ToRead(self.0.clone()))).await;
        let (client_socket, addr) = self.0.accept()?;
        client_socket.set_nonblocking(true)?;
        // An `FdSet` panics at a file descriptor of `FD_SETSIZE` or more. A client with such a file
        // descriptor is dropped, which closes it. `EMFILE` is "Too many open files".
        let fits = client_socket.as_raw_fd() < FD_SETSIZE as RawFd;
        if fits { Ok((Socket(Rc::new(client_socket)), addr)) } else { Err(Errno::EMFILE.into()) }
    }
}

impl Socket<TcpStream> {
    async fn read(&mut self, request: &mut [u8]) -> io::Result<usize> {
        loop {
            // Wait first, then make one call. If we called first, a flooding client would always
            // have bytes to read. Its task would never stop, and no other task would be polled.
            WaitFor(Some(Event::ToRead(self.0.clone()))).await;
            match self.0.as_ref().read(request) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {} // not ready after all
                result => return result,
            }
        }
    }

    async fn write_all(&mut self, mut unsent: &[u8]) -> io::Result<()> {
        while !unsent.is_empty() {
            // Here the call comes first. It nearly always succeeds, so this saves a `select` for
            // each response. The task still stops, because each `read` waits first.
            match self.0.as_ref().write(unsent) {
                Ok(count) => (_, unsent) = unsent.split_at(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    WaitFor(Some(Event::ToWrite(self.0.clone()))).await;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {} // a signal: send again
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Waits for a second if the system is out of file descriptors or memory. Step 2 sleeps instead,
/// which would block all tasks.
async fn handle_accept_error(server_socket: &Socket<TcpListener>, error: &io::Error) {
    common::report_accept_error(&server_socket.0, error);
    let start = Instant::now();
    while common::is_out_of_resources(error) && start.elapsed() < Duration::from_secs(1) {
        WaitFor(Some(Event::Timeout)).await;
    }
}

/// The event that a task waits for. `ToRead` and `ToWrite` mean that this socket is ready. `Timeout`
/// means that `select` has returned, which takes a second at most. `dyn AsFd` can be any socket,
/// because the loop needs only its file descriptor, for an `FdSet`.
enum Event {
    ToRead(Rc<dyn AsFd>),
    ToWrite(Rc<dyn AsFd>),
    Timeout,
}

/// A future that stops its task once. The first `poll` notes in `EVENT` what the task waits for.
/// When the event has happened, `event_loop` polls the task again. Each function of the task polls
/// the future at its `.await` again, down to this `WaitFor`. Its second `poll` returns `Ready`.
struct WaitFor(Option<Event>);

impl Future for WaitFor {
    type Output = ();

    // The trait fixes these parameters, so the event goes to the loop through a global variable.
    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        let Some(event) = self.0.take() else { return Poll::Ready(()) };
        EVENT.set(Some(event));
        Poll::Pending
    }
}

/// A future that `event_loop` polls. Futures have different sizes, so each is in a `Box`. `Pin`
/// promises that the future stays at its place in memory, because one variable in it may borrow
/// another. The future of `send_message` holds `request`, and the future of `read`, which borrows
/// `request`. Moving a `Task` moves only the pointer.
type Task = Pin<Box<dyn Future<Output = ()>>>;

// Two global variables of the only thread. `TASKS` holds the tasks that can go on. When a task stops,
// `EVENT` holds the event that it waits for.
thread_local!(static TASKS: RefCell<VecDeque<Task>> = const { RefCell::new(VecDeque::new()) });
thread_local!(static EVENT: Cell<Option<Event>> = const { Cell::new(None) });

/// Puts a new task, or one that can go on, into the queue of `event_loop`.
fn spawn(task: Task) {
    TASKS.with_borrow_mut(|tasks| tasks.push_back(task));
}

/// Polls each task that can go on, then waits until sockets are ready.
fn event_loop() -> io::Result<()> {
    // The tasks that wait for a socket. The key is the file descriptor of the socket.
    let mut to_read: BTreeMap<RawFd, (Rc<dyn AsFd>, Task)> = BTreeMap::new();
    let mut to_write: BTreeMap<RawFd, (Rc<dyn AsFd>, Task)> = BTreeMap::new();
    let mut to_sleep: Vec<Task> = Vec::new();
    // `poll` takes a context with a waker, by which a future can ask for its next `poll`. Our futures
    // do not need one, because this loop knows which task waits for which socket.
    let mut context = Context::from_waker(Waker::noop());

    loop {
        // Poll the tasks that can go on, also those that were spawned a moment ago. `TASKS` is not
        // borrowed during the poll, because a task may call `spawn`.
        while let Some(mut task) = TASKS.with_borrow_mut(VecDeque::pop_front) {
            // If it is not `Pending`, the function has ended, and its task is dropped.
            let Poll::Pending = task.as_mut().poll(&mut context) else { continue };
            match EVENT.take() {
                Some(Event::ToRead(socket)) => {
                    to_read.insert(socket.as_fd().as_raw_fd(), (socket, task));
                }
                Some(Event::ToWrite(socket)) => {
                    to_write.insert(socket.as_fd().as_raw_fd(), (socket, task));
                }
                Some(Event::Timeout) => to_sleep.push(task),
                None => {} // without an event it would never go on: it is dropped
            }
        }

        let (mut readfds, mut writefds) = (FdSet::new(), FdSet::new());
        for (list, set) in [(&to_read, &mut readfds), (&to_write, &mut writefds)] {
            for (socket, _task) in list.values() {
                set.insert(socket.as_fd());
            }
        }
        let highest = to_read.keys().chain(to_write.keys()).copied().max().unwrap_or(0);
        // If a task sleeps, wake up after a second even if no socket is ready.
        let mut one_second = (!to_sleep.is_empty()).then(|| TimeVal::new(1, 0));
        match select(highest + 1, &mut readfds, &mut writefds, None, one_second.as_mut()) {
            Err(Errno::EINTR) => continue, // a signal: call select again
            result => result?,
        };

        // The ready tasks move back to `TASKS`. First we note their file descriptors, because the
        // sets borrow the sockets in the two lists.
        let ready_to_read: Vec<_> = readfds.fds(Some(highest)).map(|fd| fd.as_raw_fd()).collect();
        let ready_to_write: Vec<_> = writefds.fds(Some(highest)).map(|fd| fd.as_raw_fd()).collect();
        for (list, ready) in [(&mut to_read, ready_to_read), (&mut to_write, ready_to_write)] {
            for sock in ready {
                let Some((_socket, task)) = list.remove(&sock) else { continue };
                spawn(task);
            }
        }
        // A task that has not slept long enough stops again at once.
        to_sleep.drain(..).for_each(spawn);
    }
}

fn main() -> io::Result<()> {
    let server_socket = common::listen();
    // Ends the server if it could not accept even one client.
    let _ = Capacity::new(&server_socket);
    server_socket.set_nonblocking(true)?;
    spawn(Box::pin(accept_connection(Socket(Rc::new(server_socket)))));
    event_loop()
}

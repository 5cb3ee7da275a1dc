//! Requests, responses, and a journal of what clients do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The response of our servers to each `recv` that returns bytes.
pub const RESPONSE: &[u8] = b"Hello World\n";

/// A message, as a student types it.
pub const MESSAGE: &[u8] = b"hello\n";

/// The greeting and the responses of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// Bytes that the server sends once, before the first response of a connection.
    pub greeting: Vec<u8>,
    pub response: Response,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// These bytes for each `recv` that returns bytes.
    Constant(Vec<u8>),
    /// The bytes of the request.
    Echo,
    /// Other bytes that depend on the request.
    Dependent,
}

impl Default for Protocol {
    fn default() -> Self {
        Self { greeting: Vec::new(), response: Response::Constant(RESPONSE.to_vec()) }
    }
}

/// The actions of several clients, in the order in which they happened.
#[derive(Debug, Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<(String, usize)>>>);

impl Journal {
    /// Adds an action, and counts equal actions in a row.
    pub fn note(&self, action: String) {
        let mut actions = self.actions();
        match actions.last_mut() {
            Some((last, count)) if *last == action => *count += 1,
            _ => actions.push((action, 1)),
        }
    }

    pub fn actions(&self) -> MutexGuard<'_, Vec<(String, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

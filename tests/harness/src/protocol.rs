//! Requests, responses, and a journal of what clients do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The response of our servers to each `recv` that returns bytes.
pub const RESPONSE: &[u8] = b"Hello World\n";

/// A message, as a student types it.
pub const MESSAGE: &[u8] = b"hello\n";

/// The greeting and the responses of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// Bytes that are sent once, before the first response of a connection.
    pub greeting: Vec<u8>,
    pub response: Response,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// These bytes for each `recv` that returns bytes.
    Constant(Vec<u8>),
    /// The bytes that were sent.
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
    /// Adds a step, and counts equal steps in a row.
    pub fn note(&self, step: String) {
        let mut steps = self.steps();
        match steps.last_mut() {
            Some((last, times)) if *last == step => *times += 1,
            _ => steps.push((step, 1)),
        }
    }

    pub fn steps(&self) -> MutexGuard<'_, Vec<(String, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

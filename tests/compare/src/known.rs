//! What the clients of one server and whoever records them know together.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::recording::ClientDid;

/// What is known so far; who waits for more is woken.
#[derive(Debug)]
pub struct Shared {
    known: Mutex<Known>,
    changed: Condvar,
}

#[derive(Debug)]
pub struct Known {
    /// The moment at which the clients begin.
    pub start: Instant,
    pub clients: Vec<Vec<(Duration, ClientDid)>>,
    pub addresses: HashMap<SocketAddr, usize>,
    /// Which clients have nothing left to do.
    pub over: Vec<bool>,
    pub stuck_in: Option<&'static str>,
}

impl Shared {
    pub fn of(clients: usize) -> Self {
        let known = Known {
            start: Instant::now(),
            clients: vec![Vec::new(); clients],
            addresses: HashMap::new(),
            over: vec![false; clients],
            stuck_in: None,
        };
        Self { known: Mutex::new(known), changed: Condvar::new() }
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    pub fn change(&self, how: impl FnOnce(&mut Known)) {
        how(&mut self.known());
        self.changed.notify_all();
    }

    pub fn wait_while(&self, waits: impl FnMut(&mut Known) -> bool) {
        drop(self.changed.wait_while(self.known(), waits));
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

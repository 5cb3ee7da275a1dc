//! `check` and its cases, on servers whose mistakes are known. One binary, because its tests mostly
//! wait and run side by side.

#![forbid(unsafe_code)]

mod faulty_servers;
mod program;
mod specimens;

/// Servers with one mistake each. They are started with a mode and a port.
const FAULTY: &str = "check/tests/check/servers.py";

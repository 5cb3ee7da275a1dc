//! The cases, and what the tests are made of.

#![forbid(unsafe_code)]

pub mod cases;

pub use harness::*;

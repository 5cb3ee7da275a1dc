//! What the tests are made of.

#![forbid(unsafe_code)]

pub use check as cases;
pub use harness::*;

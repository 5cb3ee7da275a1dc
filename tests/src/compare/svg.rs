//! stub
use super::{Reading, Recording};
/// stub
pub fn svg(_: &Recording, _: &Reading) -> String {
    String::new()
}

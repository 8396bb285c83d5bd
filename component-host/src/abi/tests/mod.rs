//! Tests of the value layer, over a mock of the guest.

mod bytes;
mod layouts;
#[cfg(feature = "heavy-tests")]
mod oracle;
mod round_trip;
#[cfg(feature = "heavy-tests")]
mod second_opinion;
mod shapes;
mod strings;
mod traps;

use super::mock::{
    HEAP, Mock, PAGE, Realloc, lift, lift_from_memory, lower, name, names, store_at,
};
use crate::error::{Error, ErrorKind};
use crate::trap::Trap;

#[track_caller]
fn assert_traps<T: std::fmt::Debug>(result: Result<T, Error>, trap: Trap) {
    let error = result.expect_err("a trap");
    assert_eq!(error.trap(), Some(&trap), "{error}");
}

#[track_caller]
fn assert_type_error<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result.expect_err("an error of kind `Type`").into_kind() {
        ErrorKind::Type(message) => message,
        kind => panic!("{kind}"),
    }
}

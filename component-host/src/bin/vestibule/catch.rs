//! Turns panics into text, so that none of them ends the process or prints by itself.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};

thread_local! {
    /// What the last panic of this thread said, and where.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps panics from being printed: [`catch`] returns what they said.
pub(crate) fn install() {
    set_hook(Box::new(|info| {
        let text = describe(info);
        // Neither may panic: a panic in the hook aborts the process.
        let _ = LAST.try_with(|last| {
            if let Ok(mut last) = last.try_borrow_mut() {
                *last = Some(text);
            }
        });
    }));
}

/// Runs `f`; a panic becomes the text of its message and its place.
///
/// What `f` left half done is the caller's to throw away.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let text = LAST.with(|last| last.borrow_mut().take());
        let text = text.unwrap_or_else(|| format!("panicked: {}", message(&*payload)));
        // A payload may panic again when it is dropped.
        std::mem::forget(payload);
        text
    })
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let message = message(info.payload());
    match info.location() {
        Some(location) => format!("panicked at {location}: {message}"),
        None => format!("panicked: {message}"),
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_text() {
        assert_eq!(catch(|| 7), Ok(7));
        let caught = catch(|| panic!("number {}", 7));
        assert!(caught.is_err_and(|text| text.contains("number 7")));
    }
}

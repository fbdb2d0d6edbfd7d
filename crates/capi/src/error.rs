//! The last error of each thread, and the wall that no panic passes.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// How a call ended.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PtbrStatus {
    /// It did what it was asked to.
    Ok = 0,
    /// It could not; `ptbr_last_error` says why.
    Error = 1,
    /// A fault of this library; `ptbr_last_error` says which. Free the handles that the call was given.
    Panic = 2,
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Why the calling thread's last failed call failed; an empty text where none has. Valid until the thread's next call of this library.
#[unsafe(no_mangle)]
pub extern "C" fn ptbr_last_error() -> *const c_char {
    // A thread that is ending has lost its text.
    LAST.try_with(|last| last.borrow().as_ptr())
        .unwrap_or(c"".as_ptr())
}

fn remember(message: &str) {
    // A C string ends at its first zero byte.
    let text = CString::new(message.replace('\0', " ")).unwrap_or_default();
    let _ = LAST.try_with(|last| last.replace(text));
}

/// Runs a call of the API: errors and panics are remembered and become a status.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, PtbrStatus> {
    // What a panic may have left half done is what the caller is told to free.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(message)) => {
            remember(&message);
            Err(PtbrStatus::Error)
        }
        Err(panic) => {
            remember(&format!("a fault of ptbr-slm: {}", message_of(&*panic)));
            Err(PtbrStatus::Panic)
        }
    }
}

/// [`guarded`] for a call that returns nothing but its status.
pub(crate) fn status(call: impl FnOnce() -> Result<(), String>) -> PtbrStatus {
    guarded(call).err().unwrap_or(PtbrStatus::Ok)
}

/// [`guarded`] for a call that returns a new handle, or null.
pub(crate) fn handle<T>(call: impl FnOnce() -> Result<T, String>) -> *mut T {
    guarded(call).map_or(ptr::null_mut(), |value| Box::into_raw(Box::new(value)))
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
}

/// A text that the caller gave.
///
/// # Safety
/// `text` is null or points to a text that ends with a zero byte and does not change during the call.
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str, String> {
    if text.is_null() {
        return Err(format!("{what} is null"));
    }
    // SAFETY: it is not null, and the rest is the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| format!("{what} is not UTF-8"))
}

/// What a handle points to.
///
/// # Safety
/// `handle` is null or came from this library, was not freed, and is used by nobody else during the call.
pub(crate) unsafe fn exclusive<'a, T>(handle: *mut T, what: &str) -> Result<&'a mut T, String> {
    // SAFETY: the caller's promise.
    unsafe { handle.as_mut() }.ok_or_else(|| format!("{what} is null"))
}

/// Frees a handle.
///
/// # Safety
/// `handle` is null or came from [`handle()`] and was not freed.
pub(crate) unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: it was made by `Box::into_raw`, and the caller gives it up.
        let owned = unsafe { Box::from_raw(handle) };
        // What is dropped here does not panic on purpose; if it did, that ends here.
        let _ = guarded(|| {
            drop(owned);
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> String {
        // SAFETY: the text of this thread, before its next call.
        let text = unsafe { CStr::from_ptr(ptbr_last_error()) };
        text.to_str().unwrap().to_owned()
    }

    #[test]
    fn errors_and_panics_become_a_status_and_a_text() {
        assert_eq!(last(), "");
        assert_eq!(status(|| Err("no\0such".into())), PtbrStatus::Error);
        assert_eq!(last(), "no such");
        assert_eq!(status(|| panic!("broken")), PtbrStatus::Panic);
        assert_eq!(last(), "a fault of ptbr-slm: broken");
        assert!(handle::<u8>(|| panic!("{}", 7)).is_null());
        assert_eq!(last(), "a fault of ptbr-slm: 7");
        // Each thread has its own.
        std::thread::spawn(|| assert_eq!(last(), ""))
            .join()
            .unwrap();
        assert_eq!(status(|| Ok(())), PtbrStatus::Ok);
    }
}

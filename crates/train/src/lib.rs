//! The trainer is being written.

//! What only `--full` checks: advisories against dependencies, the C header, and the crates that must also run on wasm32.

use crate::command::Workspace;
use crate::report::Report;
use crate::{header, licences, wasm};

/// Adds the long checks to the report.
pub fn check(workspace: &Workspace, report: &mut Report) {
    report.check("advisories", || licences::advisories(workspace));
    report.check("C header", || header::check(workspace));
    report.check("wasm32", || wasm::check(workspace));
}

//! Where a real PowerShell is, for tests and for a lab that is to have one. Nothing of it is used by the client.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use crate::transport::server_mode::Program;

/// A program that runs engines, called as `$PCF_ENGINES_RUN pwsh ARGUMENT…`.
pub const RUN: &str = "PCF_ENGINES_RUN";
/// `1`: a test that finds no engine has failed.
pub const REQUIRED: &str = "PCF_ENGINES_REQUIRED";

/// How to start an engine in server mode that finds modules in a folder: [`RUN`]'s, otherwise `pwsh` of the PATH. None if there is
/// neither.
pub fn find(modules: &Path) -> Option<Program> {
    let server_mode = ["-NoLogo", "-NoProfile", "-s"].map(OsString::from);
    let environment = vec![("PSModulePath".into(), modules.into())];
    if let Some(run) = runner() {
        let arguments = ["pwsh".into()].into_iter().chain(server_mode).collect();
        return Some(Program { path: run.into(), arguments, environment });
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let path = env::split_paths(&folders).map(|folder| folder.join("pwsh")).find(|path| path.is_file())?;
    Some(Program { path, arguments: server_mode.into(), environment })
}

/// What [`RUN`] names.
fn runner() -> Option<OsString> {
    env::var_os(RUN).filter(|run| !run.is_empty())
}

/// What is missing when there is no engine, as a clause.
pub fn missing() -> String {
    format!("no PowerShell engine ({RUN} is not set, and there is no pwsh on the PATH)")
}

/// What [`find`] gives, for a test.
///
/// # Errors
/// If there is none, and has to be one; see [`needed`].
pub fn for_tests(modules: &Path) -> Result<Option<Program>, String> {
    needed(find(modules), missing)
}

/// What [`RUN`] names, for a test of something else that it runs.
///
/// # Errors
/// If it names nothing, and has to; see [`needed`].
pub fn runner_for_tests(what: &str) -> Result<Option<OsString>, String> {
    needed(runner(), || format!("no {what} ({RUN} is not set)"))
}

/// Without what a test needs one line says so; it is an error if it has to be there ([`REQUIRED`]).
fn needed<T>(found: Option<T>, missing: impl Fn() -> String) -> Result<Option<T>, String> {
    if found.is_none() {
        if env::var_os(REQUIRED).is_some_and(|required| required == "1") {
            return Err(missing());
        }
        println!("not run: {}", missing());
    }
    Ok(found)
}

/// Tells whoever asked for it (`PCF_ENGINES_ROWS`, a file) that a test program drives an engine, and with how many things.
///
/// # Errors
/// If the file cannot be written.
pub fn driven(program: &str, times: usize) -> std::io::Result<()> {
    driven_and_told(program, times, "")
}

/// The same, with what there is to say besides: how much of what, what was left out.
///
/// # Errors
/// If the file cannot be written.
pub fn driven_and_told(program: &str, times: usize, told: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let Some(rows) = env::var_os("PCF_ENGINES_ROWS").filter(|rows| !rows.is_empty()) else { return Ok(()) };
    let line = format!("{program}\t{times}\t{told}\n");
    std::fs::OpenOptions::new().append(true).create(true).open(rows)?.write_all(line.as_bytes())
}

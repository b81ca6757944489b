//! `kubectl-pcf`.
fn main() {}

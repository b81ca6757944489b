//! `pcf-operator`.
fn main() {}

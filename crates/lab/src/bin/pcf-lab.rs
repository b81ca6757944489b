//! `pcf-lab`.
fn main() {}

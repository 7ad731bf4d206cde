//! The binary `socketserver`.
fn main() {}

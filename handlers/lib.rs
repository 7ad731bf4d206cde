//! The services of `socketserver`.

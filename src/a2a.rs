//! The operations of A2A. What is here now is `message/send` in the relaxed form of the quick start.

pub mod jsonrpc;

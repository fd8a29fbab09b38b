//! What is compared: the same work, done by the library and by others, each in its own way.
//!
//! `cargo bench --manifest-path benches/peers/Cargo.toml` compares times; `scripts/peers.sh` counts instructions, which a
//! busy machine does not change.

pub mod tasks;

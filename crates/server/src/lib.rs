//! What the binary `tidings` is made of.
//!
//! [`data_dir`] holds the folder of a suite, and [`postgres`] runs a private database in it.

pub mod data_dir;
pub mod postgres;

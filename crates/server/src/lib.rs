//! What the binary `tidings` is made of.
//!
//! [`data_dir`] holds the folder of a suite, and [`postgres`] runs a private database in it.

#[cfg(feature = "suite")]
pub mod cli;
pub mod data_dir;
#[cfg(feature = "suite")]
mod database;
pub mod postgres;
#[cfg(feature = "suite")]
mod process;
#[cfg(feature = "suite")]
mod settings;
#[cfg(feature = "suite")]
mod suite;

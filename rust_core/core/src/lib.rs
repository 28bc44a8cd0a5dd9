//! The computing part of memd: no I/O, no clock, no logging, no Python.

pub mod bitmap;
pub mod conversation;
pub mod dates;
pub mod error;
pub mod fields;
pub mod filter;
pub mod index;
mod interner;
pub mod limits;
pub mod namespace_index;
pub mod pack;
pub mod rank;
pub mod text;
pub mod tokens;

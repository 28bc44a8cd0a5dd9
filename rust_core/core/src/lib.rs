//! The computing part of memd: no clock, no logging, no Python, and no I/O but the files of `snapshot`.

pub mod bitmap;
pub mod conversation;
pub mod dates;
pub mod error;
pub mod extraction;
pub mod fields;
pub mod filter;
pub mod heap;
pub mod index;
mod interner;
pub mod limits;
pub mod namespace_index;
pub mod pack;
pub mod rank;
pub mod snapshot;
mod strings;
pub mod text;
pub mod tokens;

//! What can be wrong with a call. Messages name the place and the bound, never the content.

use std::fmt;

/// Why a call was refused. Nothing was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not `o200k_base` or `cl100k_base`.
    UnknownEncoding,
    /// A vector that is not a whole number of `dimensions` float32 values, or the wrong count of them.
    VectorSize {
        /// What the index holds.
        dimensions: usize,
        /// What came, in bytes.
        bytes: usize,
    },
    /// A vector with NaN or infinity.
    VectorNotFinite,
    /// Fields JSON that is not what `IndexEntry` says; the text says where.
    Fields(String),
    /// A filter that is not in the grammar; the text says where.
    Filter(String),
    /// A number outside its bounds.
    OutOfRange {
        /// The parameter.
        what: &'static str,
        /// The bound in words.
        bounds: &'static str,
    },
    /// A thread died while it changed the index: what it holds can no longer be trusted and must be rebuilt.
    Broken,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownEncoding => f.write_str("unknown encoding; known are o200k_base and cl100k_base"),
            Self::VectorSize { dimensions, bytes } => write!(
                f,
                "a vector of this index is {dimensions} float32 values ({} bytes), {bytes} bytes came",
                dimensions * 4
            ),
            Self::VectorNotFinite => f.write_str("a vector holds NaN or infinity"),
            Self::Fields(why) => write!(f, "malformed fields: {why}"),
            Self::Filter(why) => write!(f, "malformed filter: {why}"),
            Self::OutOfRange { what, bounds } => write!(f, "{what} must be {bounds}"),
            Self::Broken => f.write_str("the index was left half changed by an earlier fault and must be rebuilt"),
        }
    }
}

impl std::error::Error for Error {}

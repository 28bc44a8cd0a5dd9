//! Snapshots: a file that holds a whole `NamespaceIndex`, so that a start need not read and analyse every row again.
//!
//! A snapshot is a cache. The rows are the truth, and a file that is missing, of another model or format, or damaged costs
//! only the time to build the index from them. So nothing in it is believed before it is checked, in three steps:
//!
//! 1. the header (`container`): magic, its own checksum, format version, model, dimensions, kind, lengths;
//! 2. a checksum for each section: finds what happened by accident;
//! 3. the decoder of each part (beside the part: `namespace_index`, `text`, `fields`, `index`): refuses whatever could make
//!    a later operation panic or contradict itself, whoever wrote it. What can be derived is not stored (inverted lists,
//!    counts of users, lengths, positions), so most contradictions cannot even be written down.
//!
//! A checksum is no signature: who may write to the file can put other memories into it. Its directory must be the daemon's.

mod container;
mod error;
mod file;
mod reader;
mod writer;

pub(crate) use container::{Container, Sections, Tag};
pub use error::Error;
pub(crate) use error::corrupt;
pub(crate) use file::{Mapped, replace};
pub(crate) use reader::Reader;
pub(crate) use writer::Writer;

/// Of the layout of the header's rest and of all sections, and of how texts become terms, since those are stored. Raised
/// with every change of either: an older file is stale, not converted.
pub const FORMAT_VERSION: u32 = 4;
/// How the name of a file that is being written ends. One that a crash left behind may be deleted when nobody saves.
pub const TEMPORARY_SUFFIX: &str = ".tmp";
/// UTF-8 bytes of `model` and of `kind`: room for any digest and name, while a header stays a page or two.
pub const MAX_NAME_BYTES: usize = 1024;

/// What a snapshot says of itself, beside what the index knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Digest of the model the vectors come from.
    pub model: String,
    /// Which of a namespace's indexes it is.
    pub kind: String,
    /// A sequence number of the change log: everything up to it is in the index, later changes may be.
    pub watermark: i64,
}

/// What a snapshot must say of itself to be of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// As in `Header`.
    pub model: String,
    /// Components of a vector.
    pub dimensions: usize,
    /// As in `Header`.
    pub kind: String,
}

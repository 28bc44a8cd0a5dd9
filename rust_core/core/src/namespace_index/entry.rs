//! One memory as the caller gives it, and as it is ready to be applied.

use crate::error::Error;
use crate::fields::{Fields, parse_fields};
use crate::index::{Prepared, decode_vectors};
use crate::limits::{MAX_TEXT_BYTES, MAX_WINDOWS};
use crate::text::{TermCounts, TextTraits, analyze};

/// One memory.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Unique in the namespace.
    pub memory_id: String,
    /// Reported back with hits.
    pub version: i64,
    /// What the words are taken from.
    pub text: String,
    /// Little-endian float32 vectors one after another; may be empty.
    pub embeddings: Vec<u8>,
    /// JSON object, see `parse_fields`.
    pub fields: Vec<u8>,
}

/// Checked and computed, without having looked at the index.
pub struct Ready {
    pub windows: Vec<Prepared>,
    pub words: TermCounts,
    pub fields: Fields,
    pub traits: TextTraits,
}

impl Entry {
    pub(super) fn prepare(&self, dimensions: usize) -> Result<Ready, Error> {
        if self.memory_id.len().max(self.text.len()) > MAX_TEXT_BYTES {
            return Err(Error::OutOfRange { what: "an id or a text", bounds: "at most 4194304 bytes" });
        }
        let vectors = decode_vectors(dimensions, &self.embeddings)?;
        if vectors.len() > MAX_WINDOWS {
            return Err(Error::OutOfRange { what: "the number of embeddings", bounds: "at most 64" });
        }
        let fields = parse_fields(&self.fields)?;
        let words = analyze(&self.text);
        Ok(Ready {
            traits: TextTraits::of(&self.text, &words, fields.said_us()),
            windows: vectors.iter().map(|vector| Prepared::new(vector)).collect(),
            fields,
            words,
        })
    }
}

//! The figures of a collection of texts, for an index that holds a part of it.

use rustc_hash::FxHashMap;

/// What BM25 goes by beside a text itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// Texts there are.
    pub documents: u64,
    /// Terms of all of them, repeats counted.
    pub total_length: u64,
    /// Term to the number of texts that have it; what is not here occurs nowhere else.
    pub frequencies: FxHashMap<String, u64>,
}

impl Collection {
    /// Texts that have the term.
    pub fn frequency(&self, term: &str) -> u64 {
        self.frequencies.get(term).copied().unwrap_or(0)
    }
}

//! Vector search. One memory (a slot) has one vector per window of its text; its best window counts.
//!
//! The closeness of two vectors is their cosine. Vectors are stored with length 1, so it is a dot product.

mod flat;
pub mod hnsw;
pub mod kernels;
mod maintenance;
mod planner;
mod quantize;
mod rows;
mod scan;
mod snapshot;
mod standalone;
mod vectors;

use std::cmp::Ordering;

pub use flat::FlatIndex;
pub use hnsw::HnswIndex;
pub use maintenance::{Maintenance, Work};
pub use quantize::{Prepared, PreparedQuery};
pub use standalone::StandaloneVectors;
pub use vectors::{FLAT_MAX_ROWS, Vectors};

use crate::bitmap::Bitmap;
use crate::error::Error;
use crate::limits::{MAX_DIMENSIONS, MAX_EF};

/// How thoroughly to search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchOptions {
    /// Candidates the walk over the graph keeps, as in the HNSW paper: more finds more and takes longer. None leaves it to
    /// the index, which aims at a recall of .98.
    pub ef: Option<usize>,
    /// Look at every visible vector.
    pub exact: bool,
}

impl SearchOptions {
    /// Refuse what is out of bounds.
    pub fn check(&self) -> Result<(), Error> {
        if self.ef.is_none_or(|ef| (1..=MAX_EF).contains(&ef)) {
            Ok(())
        } else {
            Err(Error::OutOfRange { what: "ef", bounds: "between 1 and 1048576" })
        }
    }
}

/// What a vector index does, whichever way it searches.
///
/// Not thread-safe by itself: `NamespaceIndex` keeps it in step with the words and fields under one lock.
pub trait VectorIndex {
    /// Components of a vector.
    fn dimensions(&self) -> usize;
    /// Set the windows of a slot, replacing what it had. An empty list is the same as `remove`.
    fn insert(&mut self, slot: u32, windows: &[Prepared]);
    /// Forget a slot; false when it had no vectors.
    fn remove(&mut self, slot: u32) -> bool;
    /// Cosine of the query and the slot's best window; None when it has no vectors.
    fn cosine(&self, slot: u32, query: &PreparedQuery) -> Option<f32>;
    /// The `top_k` slots of largest cosine among the `visible`, best first; equal cosines in the order `tie` says. Always as
    /// many as are visible, up to `top_k`.
    fn search(
        &self,
        query: &PreparedQuery,
        top_k: usize,
        visible: &Bitmap,
        options: &SearchOptions,
        tie: &dyn Fn(u32, u32) -> Ordering,
    ) -> Vec<(u32, f32)>;
    /// Bring what a search and the cosines of these slots will surely read nearer to the processor, for a caller that has
    /// time before they are asked for: in between a model may have filled the caches with its weights.
    fn warm(&self, _slots: &mut dyn Iterator<Item = u32>) {}
    /// Estimate of the heap it holds.
    fn memory_bytes(&self) -> usize;
}

/// Little-endian float32 vectors, `dimensions` each, one after another.
pub fn decode_vectors(dimensions: usize, bytes: &[u8]) -> Result<Vec<Vec<f32>>, Error> {
    if !bytes.len().is_multiple_of(dimensions * 4) {
        return Err(Error::VectorSize { dimensions, bytes: bytes.len() });
    }
    bytes.chunks_exact(dimensions * 4).map(decode_one).collect()
}

fn decode_one(bytes: &[u8]) -> Result<Vec<f32>, Error> {
    let vector: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    if vector.iter().all(|x| x.is_finite()) { Ok(vector) } else { Err(Error::VectorNotFinite) }
}

/// A vector has between 1 and `MAX_DIMENSIONS` components.
pub fn check_dimensions(dimensions: usize) -> Result<(), Error> {
    if (1..=MAX_DIMENSIONS).contains(&dimensions) {
        Ok(())
    } else {
        Err(Error::OutOfRange { what: "dimensions", bounds: "between 1 and 16384" })
    }
}

/// Larger score first; equal scores in the order `tie` says.
pub fn best_first(a: (u32, f32), b: (u32, f32), tie: &dyn Fn(u32, u32) -> Ordering) -> Ordering {
    b.1.total_cmp(&a.1).then_with(|| tie(a.0, b.0))
}

/// Keep the `top_k` best of `scored`, best first.
pub fn keep_best(scored: &mut Vec<(u32, f32)>, top_k: usize, tie: &dyn Fn(u32, u32) -> Ordering) {
    if top_k < scored.len() {
        if top_k > 0 {
            scored.select_nth_unstable_by(top_k - 1, |a, b| best_first(*a, *b, tie));
        }
        scored.truncate(top_k);
    }
    scored.sort_unstable_by(|a, b| best_first(*a, *b, tie));
}

#[cfg(test)]
mod tests;

//! The graph index: vectors in eight bit codes, searched by walking over a graph of near neighbours (HNSW).
//!
//! A new row is not linked by `insert`. It lies in the tail, which a search scans and merges with what the walk finds; so
//! an insert takes microseconds and is seen by the next search. `claim`, `Linking::run` and `linked` move rows from the
//! tail into the graph, the long part without any lock on the index. A removed row is never found again, but stays a
//! waypoint until `damage`, `Repair::run`, `retire`, `Repair::wipe` and `release` have led every link around it. The calls
//! follow each other in this order, and only one thread does maintenance at a time: see `Maintenance`.

mod block;
mod compact;
mod graph;
mod insert;
mod pages;
mod params;
mod remove;
mod scan;
mod scratch;
mod search;
mod select;
mod slots;
mod snapshot;

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

pub use insert::Linking;
pub use params::{EF_CONSTRUCTION, M, M0};
pub use remove::{Damage, Repair};

use super::kernels::Level;
use super::quantize::{Coded, Prepared, PreparedQuery};
use super::{SearchOptions, VectorIndex};
use crate::bitmap::Bitmap;
use block::{Owner, ROWS, Table};
use graph::{Graph, View};
use slots::Slots;

/// Rows in eight bit codes and a graph over them.
pub struct HnswIndex {
    dimensions: usize,
    kernels: Level,
    table: Table,
    graph: Arc<Graph>,
    slots: Slots,
    /// Rows that belong to a slot.
    live: Bitmap,
    /// Of these, the ones searches scan: not in the graph, or just being linked.
    tail: Bitmap,
    /// Rows that are, or may be, in the graph, dead ones among them.
    linked: Bitmap,
    counts: RowCounts,
    /// Numbers to be used again, the smallest first.
    free: BinaryHeap<Reverse<u32>>,
    /// Numbers given out so far.
    end: u32,
}

/// How many rows there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Rows that belong to a slot.
    pub live: usize,
    /// Waiting for being linked.
    pub tail: usize,
    /// In the graph, dead ones among them.
    pub linked: usize,
    /// Removed, and still in the graph.
    pub dead: usize,
    /// Of the dead, nodes that the last repair left in place because equal living rows are found through them.
    pub anchors: usize,
}

impl HnswIndex {
    /// For vectors of `dimensions` components (1 to `MAX_DIMENSIONS`) on the best instruction set there is.
    pub fn new(dimensions: usize) -> Self {
        Self::with_level(dimensions, Level::detect())
    }

    /// The same on a given instruction set.
    pub fn with_level(dimensions: usize, kernels: Level) -> Self {
        Self {
            dimensions,
            kernels,
            table: Table::new(dimensions),
            graph: Arc::new(Graph::new()),
            slots: Slots::default(),
            live: Bitmap::default(),
            tail: Bitmap::default(),
            linked: Bitmap::default(),
            counts: RowCounts::default(),
            free: BinaryHeap::new(),
            end: 0,
        }
    }

    /// How many rows there are of each kind.
    pub fn counts(&self) -> RowCounts {
        self.counts
    }

    fn view(&self) -> View<'_> {
        View { table: &self.table, graph: &self.graph, kernels: self.kernels }
    }

    fn is_visible(&self, row: u32, visible: &Bitmap) -> bool {
        self.table.owner(row).is_some_and(|owner| visible.get(owner.slot))
    }

    /// A number nobody has.
    fn number(&mut self) -> u32 {
        if let Some(Reverse(row)) = self.free.pop() {
            return row;
        }
        if self.end as usize == self.table.capacity() {
            self.table.grow();
            for bits in [&mut self.live, &mut self.tail, &mut self.linked] {
                bits.grow(self.table.capacity());
            }
        }
        self.end += 1;
        self.end - 1
    }

    fn push(&mut self, owner: Owner, vector: Coded<'_>) -> u32 {
        let row = self.number();
        // SAFETY: the number was free, and `&mut self` keeps searches and other changes away; maintenance touches only
        // rows in the graph and rows it has retired, which are not free.
        unsafe { self.table.write(row, owner, vector) };
        self.live.set(row);
        self.tail.set(row);
        self.counts.live += 1;
        self.counts.tail += 1;
        row
    }

    /// `insert` of vectors that are coded already.
    pub(super) fn insert_coded<'a>(&mut self, slot: u32, windows: impl Iterator<Item = Coded<'a>>) {
        self.remove(slot);
        let rows = windows.enumerate().map(|(at, window)| self.push(Owner { slot, first: at == 0 }, window)).collect();
        self.slots.put(slot, rows);
    }

    /// The row is never found again. One that was never linked is free at once.
    fn kill(&mut self, row: u32) {
        self.table.disown(row);
        self.live.clear(row);
        self.counts.live -= 1;
        if self.tail.get(row) {
            self.tail.clear(row);
            self.counts.tail -= 1;
        }
        if self.linked.get(row) {
            self.counts.dead += 1;
        } else {
            // SAFETY: it is in no list and no bitmap any more, and not yet among the free numbers.
            unsafe { self.table.wipe(row) };
            self.free.push(Reverse(row));
        }
    }

    /// Give back the last blocks when nothing in them is in use; the first stays.
    pub(super) fn shrink(&mut self) {
        let used = |bits: &Bitmap| bits.words().iter().rposition(|&word| word != 0).map_or(0, |at| (at + 1) * 64);
        let end = used(&self.live).max(used(&self.linked)).max(1).next_multiple_of(ROWS);
        if end >= self.table.capacity() {
            return;
        }
        while self.table.capacity() > end {
            self.table.shrink();
        }
        for bits in [&mut self.live, &mut self.tail, &mut self.linked] {
            *bits = bits.first(end);
        }
        self.free.retain(|Reverse(row)| (*row as usize) < end);
        self.end = self.end.min(end as u32);
    }
}

impl VectorIndex for HnswIndex {
    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn insert(&mut self, slot: u32, windows: &[Prepared]) {
        self.insert_coded(slot, windows.iter().map(Coded::from));
    }

    fn remove(&mut self, slot: u32) -> bool {
        let rows = self.slots.take(slot);
        rows.iter().for_each(|&row| self.kill(row));
        !rows.is_empty()
    }

    fn cosine(&self, slot: u32, query: &PreparedQuery) -> Option<f32> {
        self.slots.get(slot).iter().map(|&row| self.row_cosine(row, query)).max_by(f32::total_cmp)
    }

    fn search(
        &self,
        query: &PreparedQuery,
        top_k: usize,
        visible: &Bitmap,
        options: &SearchOptions,
        tie: &dyn Fn(u32, u32) -> Ordering,
    ) -> Vec<(u32, f32)> {
        self.find(query, top_k, visible, options, tie).0
    }

    fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
            + self.graph.memory_bytes()
            + self.slots.memory_bytes()
            + self.live.words().len() * 3 * 8
            + self.free.capacity() * 4
    }
}

#[cfg(test)]
mod tests;

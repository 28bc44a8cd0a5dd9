//! The exact scan: pass 1 reads the codes of every visible row and gives each cosine an interval; pass 2 rescores in
//! float32 the rows whose interval reaches the k-th best lower end, most promising first, until no interval left reaches
//! the k-th best score. What is left out cannot be among the k best, so the answer is that of a float32 scan of everything.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::flat::FlatIndex;
use super::keep_best;
use super::kernels::{BLOCK_ROWS, BlockDots, at_least_f32, dot_codes};
use super::quantize::PreparedQuery;
use crate::bitmap::{Bitmap, set_bits};

const BLOCK_WORDS: usize = BLOCK_ROWS / 64;

pub fn search(
    index: &FlatIndex,
    query: &PreparedQuery,
    top_k: usize,
    visible: &Bitmap,
    tie: &dyn Fn(u32, u32) -> Ordering,
) -> Vec<(u32, f32)> {
    if top_k == 0 || index.rows.len() == 0 {
        return Vec::new();
    }
    let mut scored = if index.rows.are_coded() {
        let mask = visible_rows(index, visible);
        rescore(index, query, top_k, candidates(index, query, top_k, &mask))
    } else {
        floats(index, query, visible)
    };
    if index.many > 0 {
        keep_best_window(&mut scored);
    }
    keep_best(&mut scored, top_k, tie);
    scored
}

/// The float cosines of all visible rows, by slot.
fn floats(index: &FlatIndex, query: &PreparedQuery, visible: &Bitmap) -> Vec<(u32, f32)> {
    let rows = (0..index.rows.len() as u32).map(|row| (row, index.rows.owner(row).slot));
    rows.filter(|&(_, slot)| visible.get(slot)).map(|(row, slot)| (slot, index.row_cosine(row, query))).collect()
}

/// One bit per row, in whole blocks.
fn visible_rows(index: &FlatIndex, visible: &Bitmap) -> Vec<u64> {
    let mut mask = vec![0u64; index.rows.len().div_ceil(BLOCK_ROWS) * BLOCK_WORDS];
    if index.rows.are_slots() {
        let shown = visible.first(index.rows.len());
        mask[..shown.words().len()].copy_from_slice(shown.words());
        return mask;
    }
    for slot in visible.iter() {
        let Some(list) = index.rows_of.get(slot as usize) else { break };
        for &row in list.as_slice() {
            mask[row as usize / 64] |= 1 << (row % 64);
        }
    }
    mask
}

/// Pass 1: rows with the upper end of their interval.
fn candidates(index: &FlatIndex, query: &PreparedQuery, top_k: usize, mask: &[u64]) -> Vec<(u32, f32)> {
    let mut bar = Bar::new(top_k);
    let mut kept: Vec<(u32, f32)> = Vec::new();
    let mut dots = BlockDots { high: [0; BLOCK_ROWS], low: [0; BLOCK_ROWS] };
    let (mut uppers, mut lowers) = ([0f32; BLOCK_ROWS], [0f32; BLOCK_ROWS]);
    for (number, mask) in mask.chunks_exact(BLOCK_WORDS).enumerate() {
        if mask.iter().all(|&word| word == 0) {
            continue;
        }
        let block = index.rows.block(number);
        dot_codes(index.level, block.codes, &query.codes, mask, &mut dots);
        let intervals = query.intervals(&dots, block.scales, block.residuals);
        for ((cosine, error), (upper, lower)) in intervals.zip(uppers.iter_mut().zip(&mut lowers)) {
            (*upper, *lower) = (cosine + error, cosine - error);
        }
        let reaching = at_least_f32(index.level, &uppers[..block.owners.len()], bar.height);
        for (at, (&visible, &reaching)) in mask.iter().zip(&reaching).enumerate() {
            for bit in set_bits(visible & reaching) {
                let row = at * 64 + bit as usize;
                if uppers[row] >= bar.height {
                    kept.push(((number * BLOCK_ROWS + row) as u32, uppers[row]));
                    bar.raise(block.owners[row].first, lowers[row]);
                }
            }
        }
    }
    kept.retain(|&(_, upper)| upper >= bar.height);
    kept
}

/// Pass 2: slots with the exact cosines of their rows.
fn rescore(index: &FlatIndex, query: &PreparedQuery, top_k: usize, mut rows: Vec<(u32, f32)>) -> Vec<(u32, f32)> {
    rows.sort_unstable_by(|a, b| b.1.total_cmp(&a.1));
    let mut bar = Bar::new(top_k);
    let mut scored = Vec::with_capacity(rows.len());
    for (row, upper) in rows {
        if upper < bar.height {
            break;
        }
        let (owner, cosine) = (index.rows.owner(row), index.row_cosine(row, query));
        scored.push((owner.slot, cosine));
        bar.raise(owner.first, cosine);
    }
    scored
}

/// The k-th best value so far, over the first windows of the slots: each stands for one slot, so that a memory with many
/// windows does not count many times; a slot's best is never below its first.
pub(super) struct Bar {
    top_k: usize,
    pub(super) height: f32,
    lowest: BinaryHeap<Reverse<Ordered>>,
}

impl Bar {
    pub(super) fn new(top_k: usize) -> Self {
        Self { top_k, height: f32::NEG_INFINITY, lowest: BinaryHeap::new() }
    }

    #[inline]
    pub(super) fn raise(&mut self, first: bool, value: f32) {
        if !first || value <= self.height {
            return;
        }
        self.lowest.push(Reverse(Ordered(value)));
        if self.lowest.len() > self.top_k {
            self.lowest.pop();
        }
        if self.lowest.len() == self.top_k
            && let Some(Reverse(Ordered(lowest))) = self.lowest.peek()
        {
            self.height = *lowest;
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
struct Ordered(f32);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

pub(super) fn keep_best_window(scored: &mut Vec<(u32, f32)>) {
    scored.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    scored.dedup_by_key(|(slot, _)| *slot);
}

//! The exact scan: pass 1 reads the codes of every visible row and gives each cosine an interval; pass 2 rescores in
//! float32 the rows whose interval reaches the k-th best lower end. What pass 1 leaves out cannot be among the k best, so
//! the answer is that of a float32 scan of everything.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::flat::FlatIndex;
use super::kernels::{BLOCK_ROWS, dot_codes};
use super::quantize::PreparedQuery;
use super::{keep_best, rows::Row};
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
    let mask = visible_rows(index, visible);
    let mut scored: Vec<(u32, f32)> = candidates(index, query, top_k, &mask)
        .into_iter()
        .map(|row| (index.rows.row(row as usize).slot, index.row_cosine(row, query)))
        .collect();
    if index.many > 0 {
        keep_best_window(&mut scored);
    }
    keep_best(&mut scored, top_k, tie);
    scored
}

/// One bit per row, in whole blocks.
fn visible_rows(index: &FlatIndex, visible: &Bitmap) -> Vec<u64> {
    let mut mask = vec![0u64; index.rows.len().div_ceil(BLOCK_ROWS) * BLOCK_WORDS];
    for slot in visible.iter() {
        let Some(list) = index.rows_of.get(slot as usize) else { break };
        for &row in list.as_slice() {
            mask[row as usize / 64] |= 1 << (row % 64);
        }
    }
    mask
}

/// Pass 1.
fn candidates(index: &FlatIndex, query: &PreparedQuery, top_k: usize, mask: &[u64]) -> Vec<u32> {
    let mut bar = Bar::new(top_k);
    let mut kept: Vec<(u32, f32)> = Vec::new();
    let mut dots = [(0, 0); BLOCK_ROWS];
    for (block, mask) in mask.chunks_exact(BLOCK_WORDS).enumerate() {
        if mask.iter().all(|&word| word == 0) {
            continue;
        }
        let (rows, codes) = index.rows.block(block);
        dot_codes(index.level, codes, &query.codes, mask, &mut dots[..rows.len()]);
        for (at, &word) in mask.iter().enumerate() {
            for bit in set_bits(word) {
                let in_block = at * 64 + bit as usize;
                let row = &rows[in_block];
                let cosine = query.approximate(dots[in_block], row.scale);
                let error = query.error_bound(row.residual);
                if cosine + error >= bar.height {
                    kept.push(((block * BLOCK_ROWS + in_block) as u32, cosine + error));
                    bar.raise(row, cosine - error);
                }
            }
        }
    }
    kept.retain(|&(_, upper)| upper >= bar.height);
    kept.into_iter().map(|(row, _)| row).collect()
}

/// The k-th best lower end so far, over the first windows of the slots: each stands for one slot, so that a memory with
/// many windows does not count many times; a slot's best is never below its first.
struct Bar {
    top_k: usize,
    height: f32,
    lowest: BinaryHeap<Reverse<Ordered>>,
}

impl Bar {
    fn new(top_k: usize) -> Self {
        Self { top_k, height: f32::NEG_INFINITY, lowest: BinaryHeap::new() }
    }

    #[inline]
    fn raise(&mut self, row: &Row, lower: f32) {
        if !row.first || lower <= self.height {
            return;
        }
        self.lowest.push(Reverse(Ordered(lower)));
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

fn keep_best_window(scored: &mut Vec<(u32, f32)>) {
    scored.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    scored.dedup_by_key(|(slot, _)| *slot);
}

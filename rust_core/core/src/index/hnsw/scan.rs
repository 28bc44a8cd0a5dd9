//! The scan: the codes of chosen rows against both digits of the query, which is nearly the float query.

use super::HnswIndex;
use crate::bitmap::{Bitmap, set_bits};
use crate::index::kernels::{BLOCK_ROWS, BlockDots, ROWS_AHEAD, dot_codes};
use crate::index::quantize::PreparedQuery;
use crate::index::scan::Bar;

const STEP_WORDS: usize = BLOCK_ROWS / 64;

impl HnswIndex {
    /// One bit for each row of the visible slots, in whole steps of the scan.
    pub(super) fn rows_of(&self, visible: &Bitmap, matching: usize) -> Vec<u64> {
        let mut mask = self.steps(self.live.words());
        if matching == self.slots.len() {
            return mask;
        }
        mask.fill(0);
        for slot in visible.first(self.slots.end()).iter() {
            for &row in self.slots.get(slot) {
                mask[row as usize / 64] |= 1 << (row % 64);
            }
        }
        mask
    }

    /// One bit for each row of the visible slots that waits for being linked.
    pub(super) fn waiting_rows(&self, visible: &Bitmap, matching: usize) -> Vec<u64> {
        let mut mask = self.steps(self.tail.words());
        if matching < self.slots.len() {
            for (at, word) in mask.iter_mut().enumerate() {
                let shown = |bit: &u32| self.is_visible(at as u32 * 64 + bit, visible);
                *word = set_bits(*word).filter(shown).fold(0, |word, bit| word | 1 << bit);
            }
        }
        mask
    }

    fn steps(&self, words: &[u64]) -> Vec<u64> {
        let mut mask = words.to_vec();
        mask.resize(words.len().next_multiple_of(STEP_WORDS), 0);
        mask
    }

    /// The slots of those rows among which the `top_k` best are, with their cosines.
    pub(super) fn scan(&self, query: &PreparedQuery, top_k: usize, mask: &[u64]) -> Vec<(u32, f32)> {
        let mut bar = Bar::new(top_k);
        let mut scored: Vec<(u32, f32)> = Vec::new();
        let mut dots = BlockDots { high: [0; BLOCK_ROWS], low: [0; BLOCK_ROWS] };
        for (step, words) in mask.chunks_exact(STEP_WORDS).enumerate() {
            let first = step * BLOCK_ROWS;
            let ahead = mask[(step + 1) * STEP_WORDS..].iter().take(STEP_WORDS).enumerate();
            ahead
                .flat_map(|(at, &word)| set_bits(word).map(move |bit| at as u32 * 64 + bit))
                .take(ROWS_AHEAD)
                .for_each(|row| self.table.prefetch_codes((first + BLOCK_ROWS) as u32 + row));
            if words.iter().all(|&word| word == 0) {
                continue;
            }
            dot_codes(self.kernels, self.table.codes_of(first, BLOCK_ROWS), &query.codes, words, &mut dots);
            for (at, &word) in words.iter().enumerate() {
                for bit in set_bits(word) {
                    let at = at * 64 + bit as usize;
                    let row = (first + at) as u32;
                    let cosine = query.cosine(dots.high[at], dots.low[at], self.table.scale(row));
                    if cosine >= bar.height
                        && let Some(owner) = self.table.owner(row)
                    {
                        scored.push((owner.slot, cosine));
                        bar.raise(owner.first, cosine);
                    }
                }
            }
        }
        scored.retain(|&(_, cosine)| cosine >= bar.height);
        scored
    }
}

//! Byte-pair merging of one piece: the pair of lowest rank, leftmost first, until no pair is in the vocabulary.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::vocabulary::Vocabulary;

/// Up to this many bytes the quadratic merge in a flat array beats the heap.
const FLAT_MERGE_MAX_BYTES: usize = 128;
const NO_RANK: u32 = u32::MAX;

/// How many tokens `piece` becomes.
#[inline]
pub fn count_piece(vocabulary: &Vocabulary, piece: &[u8]) -> usize {
    if piece.len() == 1 || vocabulary.rank(piece).is_some() {
        1
    } else if piece.len() <= FLAT_MERGE_MAX_BYTES {
        merge_flat(vocabulary, piece)
    } else {
        merge_heap(vocabulary, piece)
    }
}

/// `parts[i] = (start, rank of parts i and i + 1 merged)`; the last two entries mark the end.
pub(super) fn merge_flat(vocabulary: &Vocabulary, piece: &[u8]) -> usize {
    let mut parts = [(0u32, NO_RANK); FLAT_MERGE_MAX_BYTES + 1];
    let mut len = piece.len();
    for (i, part) in parts.iter_mut().enumerate().take(len + 1) {
        part.0 = i as u32;
        if i + 2 <= len {
            part.1 = vocabulary.rank(&piece[i..i + 2]).unwrap_or(NO_RANK);
        }
    }
    let rank_at = |parts: &[(u32, u32)], len: usize, i: usize| {
        if i + 2 > len {
            return NO_RANK;
        }
        vocabulary.rank(&piece[parts[i].0 as usize..parts[i + 2].0 as usize]).unwrap_or(NO_RANK)
    };
    while len > 1 {
        let mut best = (NO_RANK, 0);
        for (i, part) in parts[..len - 1].iter().enumerate() {
            if part.1 < best.0 {
                best = (part.1, i);
            }
        }
        if best.0 == NO_RANK {
            break;
        }
        let at = best.1;
        parts.copy_within(at + 2..len + 1, at + 1);
        len -= 1;
        parts[at].1 = rank_at(&parts, len, at);
        if at > 0 {
            parts[at - 1].1 = rank_at(&parts, len, at - 1);
        }
    }
    len
}

/// The same with a heap of pairs over a linked list: O(n log n), for runs no vocabulary has as a whole.
pub(super) fn merge_heap(vocabulary: &Vocabulary, piece: &[u8]) -> usize {
    let n = piece.len();
    let mut next: Vec<u32> = (1..=n as u32).collect();
    let mut previous: Vec<u32> = (0..n as u32).map(|i| i.wrapping_sub(1)).collect();
    let mut pair_rank = vec![NO_RANK; n];
    let mut heap = BinaryHeap::with_capacity(n);
    for i in 0..n - 1 {
        if let Some(rank) = vocabulary.rank(&piece[i..i + 2]) {
            pair_rank[i] = rank;
            heap.push(Reverse((rank, i as u32)));
        }
    }
    let mut count = n;
    while let Some(Reverse((rank, start))) = heap.pop() {
        let at = start as usize;
        if pair_rank[at] != rank {
            continue;
        }
        let middle = next[at] as usize;
        let end = next[middle];
        next[at] = end;
        pair_rank[middle] = NO_RANK;
        count -= 1;
        if (end as usize) < n {
            previous[end as usize] = start;
        }
        let before = previous[at];
        for left in [Some(at), (before != u32::MAX).then_some(before as usize)].into_iter().flatten() {
            let middle = next[left] as usize;
            let merged = (middle < n).then(|| &piece[left..next[middle] as usize]);
            pair_rank[left] = merged.and_then(|bytes| vocabulary.rank(bytes)).unwrap_or(NO_RANK);
            if pair_rank[left] != NO_RANK {
                heap.push(Reverse((pair_rank[left], left as u32)));
            }
        }
    }
    count
}

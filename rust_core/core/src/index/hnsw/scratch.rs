//! What one walk needs besides the graph; kept and used again, since clearing it is cheaper than allocating it.

use super::params::M0;

/// Which rows a walk has seen, one bit each: for 100,000 rows it stays in the first cache.
#[derive(Default)]
pub struct Visited {
    words: Vec<u64>,
}

impl Visited {
    pub fn reset(&mut self, rows: usize) {
        self.words.clear();
        self.words.resize(rows.div_ceil(64), 0);
    }

    /// Whether it had not been seen before.
    #[inline]
    pub fn insert(&mut self, row: u32) -> bool {
        let (word, bit) = (&mut self.words[row as usize / 64], 1 << (row % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

/// The best rows found, best first, with a mark on those whose links have been followed.
///
/// The paper keeps candidates and results in two heaps; with no filter they hold the same rows, and one sorted array of a
/// few hundred entries is faster.
#[derive(Default)]
pub struct Pool {
    entries: Vec<Found>,
    capacity: usize,
    /// No entry before it is unfollowed.
    cursor: usize,
}

/// A row with its cosine to the query as the walk sees it.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub row: u32,
    followed: bool,
    pub cosine: f32,
}

impl Pool {
    pub fn reset(&mut self, capacity: usize) {
        self.entries.clear();
        self.capacity = capacity;
        self.cursor = 0;
    }

    /// What a row has to exceed to be kept.
    #[inline]
    pub fn bar(&self) -> f32 {
        if self.entries.len() < self.capacity { f32::NEG_INFINITY } else { self.entries[self.capacity - 1].cosine }
    }

    /// Keep a row that exceeds the bar.
    #[inline]
    pub fn insert(&mut self, row: u32, cosine: f32) {
        if self.entries.len() == self.capacity {
            self.entries.pop();
        }
        let at = self.entries.partition_point(|entry| entry.cosine >= cosine);
        self.entries.insert(at, Found { row, followed: false, cosine });
        self.cursor = self.cursor.min(at);
    }

    /// The best row whose links have not been followed, and marks it.
    #[inline]
    pub fn follow_next(&mut self) -> Option<u32> {
        let left = &mut self.entries[self.cursor..];
        let at = left.iter().position(|entry| !entry.followed)?;
        left[at].followed = true;
        self.cursor += at + 1;
        Some(self.entries[self.cursor - 1].row)
    }

    /// The one that comes after, if nothing better is found meanwhile.
    #[inline]
    pub fn peek_next(&self) -> Option<u32> {
        self.entries[self.cursor..].iter().find(|entry| !entry.followed).map(|entry| entry.row)
    }

    /// Best first.
    pub fn found(&self) -> &[Found] {
        &self.entries
    }
}

/// Rows whose cosines are computed in one go.
#[derive(Clone, Copy)]
pub struct Batch {
    pub rows: [u32; M0],
    pub cosines: [f32; M0],
    pub len: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self { rows: [0; M0], cosines: [0.0; M0], len: 0 }
    }
}

impl Batch {
    #[inline]
    pub fn push(&mut self, row: u32) {
        self.rows[self.len] = row;
        self.len += 1;
    }

    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (u32, f32)> {
        self.rows[..self.len].iter().copied().zip(self.cosines[..self.len].iter().copied())
    }
}

/// All of it.
#[derive(Default)]
pub struct Scratch {
    pub visited: Visited,
    pub pool: Pool,
    pub batch: Batch,
    /// Distance computations of the walk.
    pub evaluations: usize,
}

impl Found {
    pub fn new(row: u32, cosine: f32) -> Self {
        Self { row, followed: false, cosine }
    }
}

impl Scratch {
    pub fn memory_bytes(&self) -> usize {
        self.visited.words.capacity() * 8 + self.pool.entries.capacity() * size_of::<Found>()
    }
}

//! The graph over the rows that are linked: where walks begin, who may write, and the two searches of the paper.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::block::Table;
use super::params::NONE;
use super::scratch::{Batch, Scratch};
use crate::index::kernels::{Level, Probe, dot_gather};

/// Writers of a list take the lock of its stripe. Readers take none.
const STRIPES: usize = 256;
/// Scratches kept for later; each has one bit per row.
const MAX_IDLE_SCRATCHES: usize = 8;

/// Walks the mean effort is of, about.
const EFFORT_WALKS: f32 = 32.0;

/// The parts of the graph that are not rows.
pub struct Graph {
    /// Level and row of the enter point; the row is `NONE` when nothing is linked.
    enter: AtomicU64,
    /// Held by who moves the enter point.
    growing: Mutex<()>,
    stripes: Box<[Mutex<()>]>,
    idle: Mutex<Vec<Scratch>>,
    /// Evaluations of a walk for each candidate it keeps, bits of an f32: a mean of those that linked the last rows.
    effort: AtomicU32,
}

/// Where a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enter {
    pub row: u32,
    pub level: usize,
}

impl Graph {
    pub fn new() -> Self {
        Self {
            enter: AtomicU64::new(u64::from(NONE)),
            growing: Mutex::new(()),
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            idle: Mutex::default(),
            effort: AtomicU32::new(0),
        }
    }

    /// None when nothing is linked.
    pub fn enter(&self) -> Option<Enter> {
        let packed = self.enter.load(Ordering::Acquire);
        let row = packed as u32;
        (row != NONE).then_some(Enter { row, level: (packed >> 32) as usize })
    }

    pub fn set_enter(&self, enter: Option<Enter>) {
        let packed = enter.map_or(u64::from(NONE), |e| (e.level as u64) << 32 | u64::from(e.row));
        self.enter.store(packed, Ordering::Release);
    }

    // The locks guard no data of their own, so a holder that died leaves nothing half written that they would hide.
    pub fn lock_growing(&self) -> MutexGuard<'_, ()> {
        self.growing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn lock_links(&self, row: u32) -> MutexGuard<'_, ()> {
        self.stripes[row as usize % STRIPES].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Evaluations a walk on level 0 takes for each candidate it keeps; 0 when nothing is linked. It depends on how many
    /// directions the vectors spread into, so it is measured and not assumed: 15 for sentences, 4 for clusters.
    pub fn effort(&self) -> f32 {
        f32::from_bits(self.effort.load(Ordering::Relaxed))
    }

    /// Take one more walk into the mean. Two at the same moment may count as one.
    pub fn note_effort(&self, evaluations: usize, candidates: usize) {
        if candidates == 0 {
            return;
        }
        let (mean, this) = (self.effort(), evaluations as f32 / candidates as f32);
        let mean = if mean == 0.0 { this } else { mean + (this - mean) / EFFORT_WALKS };
        self.effort.store(mean.to_bits(), Ordering::Relaxed);
    }

    /// Lend a scratch.
    pub fn with_scratch<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = idle().pop().unwrap_or_default();
        let done = work(&mut scratch);
        let mut idle = idle();
        if idle.len() < MAX_IDLE_SCRATCHES {
            idle.push(scratch);
        }
        done
    }

    pub fn memory_bytes(&self) -> usize {
        STRIPES * size_of::<Mutex<()>>()
            + self.idle.lock().map_or(0, |idle| idle.iter().map(|s| s.memory_bytes()).sum())
    }
}

/// Graph and rows as one walk sees them.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub table: &'a Table,
    pub graph: &'a Graph,
    pub kernels: Level,
}

impl View<'_> {
    /// Cosines of a batch.
    #[inline]
    pub fn score(&self, probe: &Probe<'_>, batch: &mut Batch) {
        let rows = batch.rows[..batch.len].iter().map(|&row| self.table.codes(row));
        let mut dots = [0; super::params::M0];
        dot_gather(self.kernels, probe, rows, &mut dots[..batch.len]);
        let rows = batch.rows[..batch.len].iter().zip(&dots);
        for ((&row, &dot), cosine) in rows.zip(&mut batch.cosines) {
            *cosine = probe.scale * self.table.scale(row) * dot as f32;
        }
    }

    /// Cosine of one row.
    pub fn cosine(&self, probe: &Probe<'_>, row: u32) -> f32 {
        let mut batch = Batch::default();
        batch.push(row);
        self.score(probe, &mut batch);
        batch.cosines[0]
    }

    /// The neighbours of a row nobody has seen yet, on their way into the cache.
    #[inline]
    pub fn unseen(&self, row: u32, level: usize, scratch: &mut Scratch) {
        scratch.batch.len = 0;
        for link in self.table.links(row, level) {
            let neighbour = link.load(Ordering::Relaxed);
            if neighbour == NONE {
                break;
            }
            if scratch.visited.insert(neighbour) {
                self.table.prefetch_codes(neighbour);
                scratch.batch.push(neighbour);
            }
        }
        scratch.evaluations += scratch.batch.len;
    }

    /// From the enter point down to `level`: on each level above it to the node nobody next to which is closer
    /// (Algorithm 5, lines 1-5).
    pub fn descend(&self, probe: &Probe<'_>, enter: Enter, level: usize) -> (u32, f32) {
        let mut best = (enter.row, self.cosine(probe, enter.row));
        for level in (level + 1..=enter.level).rev() {
            loop {
                let before = best;
                let mut batch = Batch::default();
                self.table.neighbours(best.0, level).for_each(|row| batch.push(row));
                self.score(probe, &mut batch);
                best = batch.iter().fold(best, |best, found| if found.1 > best.1 { found } else { best });
                if best.0 == before.0 {
                    break;
                }
            }
        }
        best
    }

    /// SEARCH-LAYER (Algorithm 2): from the rows in the pool to the best the pool can hold.
    pub fn search_layer(&self, probe: &Probe<'_>, level: usize, scratch: &mut Scratch) {
        while let Some(row) = scratch.pool.follow_next() {
            if level == 0
                && let Some(next) = scratch.pool.peek_next()
            {
                self.table.prefetch_links(next);
            }
            self.unseen(row, level, scratch);
            self.score(probe, &mut scratch.batch);
            for at in 0..scratch.batch.len {
                let cosine = scratch.batch.cosines[at];
                if cosine > scratch.pool.bar() {
                    scratch.pool.insert(scratch.batch.rows[at], cosine);
                }
            }
        }
    }

    /// Begin a walk on a level with one row.
    pub fn begin(&self, start: (u32, f32), ef: usize, scratch: &mut Scratch) {
        scratch.visited.reset(self.table.capacity());
        scratch.pool.reset(ef);
        scratch.evaluations = 0;
        scratch.visited.insert(start.0);
        scratch.pool.insert(start.0, start.1);
    }
}

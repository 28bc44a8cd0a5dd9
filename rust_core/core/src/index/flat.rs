//! The exact index: every visible vector is looked at.

use std::cmp::Ordering;

use super::kernels::{Level, dot_f32};
use super::quantize::{Prepared, PreparedQuery};
use super::rows::Rows;
use super::{SearchOptions, VectorIndex, scan};
use crate::bitmap::Bitmap;

/// Bytes.
const CACHE_LINE: usize = 64;

/// The rows of one slot.
#[derive(Clone, Debug, Default)]
pub(super) enum RowList {
    #[default]
    None,
    One(u32),
    Many(Box<[u32]>),
}

impl RowList {
    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(row) => std::slice::from_ref(row),
            Self::Many(rows) => rows,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [u32] {
        match self {
            Self::None => &mut [],
            Self::One(row) => std::slice::from_mut(row),
            Self::Many(rows) => rows,
        }
    }
}

/// Exact search over contiguous vectors: an integer pass that certifies what cannot be among the best, then float32. With
/// few rows float32 alone.
pub struct FlatIndex {
    pub(super) level: Level,
    pub(super) rows: Rows,
    pub(super) rows_of: Vec<RowList>,
    /// Slots with more than one window.
    pub(super) many: usize,
}

impl FlatIndex {
    /// For vectors of `dimensions` components (1 to `MAX_DIMENSIONS`) on the best instruction set there is.
    pub fn new(dimensions: usize) -> Self {
        Self::with_level(dimensions, Level::detect())
    }

    /// The same on a given instruction set.
    pub fn with_level(dimensions: usize, level: Level) -> Self {
        Self { level, rows: Rows::new(dimensions), rows_of: Vec::new(), many: 0 }
    }

    /// Make room for so many more rows of so many slots.
    pub fn reserve(&mut self, slots: usize, rows: usize) {
        self.rows.reserve(rows);
        self.rows_of.reserve_exact(slots);
    }

    /// Keep no room for more.
    pub fn shrink_to_fit(&mut self) {
        self.rows.shrink_to_fit();
        self.rows_of.shrink_to_fit();
    }

    /// Cosine of the query and a row, by the float kernel.
    pub(super) fn row_cosine(&self, row: u32, query: &PreparedQuery) -> f32 {
        // Adding 0 makes -0 a 0: the two must tie.
        dot_f32(self.level, self.rows.vector(row as usize), &query.unit).clamp(-1.0, 1.0) + 0.0
    }
}

/// Read one value of every cache line.
fn touch<T: Copy>(values: &[T]) {
    values.iter().step_by(CACHE_LINE / size_of::<T>()).for_each(|value| {
        std::hint::black_box(*value);
    });
}

impl VectorIndex for FlatIndex {
    fn dimensions(&self) -> usize {
        self.rows.dimensions()
    }

    fn insert(&mut self, slot: u32, windows: &[Prepared]) {
        self.remove(slot);
        if windows.is_empty() {
            return;
        }
        if self.rows_of.len() <= slot as usize {
            self.rows_of.resize(slot as usize + 1, RowList::None);
        }
        let mut rows = windows.iter().enumerate().map(|(at, window)| self.rows.push(slot, at == 0, window));
        self.rows_of[slot as usize] = if windows.len() == 1 {
            rows.next().map_or(RowList::None, RowList::One)
        } else {
            self.many += 1;
            RowList::Many(rows.collect())
        };
    }

    fn remove(&mut self, slot: u32) -> bool {
        let Some(list) = self.rows_of.get_mut(slot as usize) else { return false };
        let list = std::mem::take(list);
        if list.as_slice().is_empty() {
            return false;
        }
        self.many -= usize::from(list.as_slice().len() > 1);
        // From the back, so that no row of this slot is the one that moves into a hole.
        let mut rows = list.as_slice().to_vec();
        rows.sort_unstable();
        for &row in rows.iter().rev() {
            if let Some(moved) = self.rows.swap_remove(row) {
                let owner = self.rows.owner(row).slot;
                let entry = self.rows_of[owner as usize].as_mut_slice().iter_mut().find(|r| **r == moved);
                *entry.expect("every row is listed by its slot") = row;
            }
        }
        true
    }

    fn cosine(&self, slot: u32, query: &PreparedQuery) -> Option<f32> {
        let rows = self.rows_of.get(slot as usize)?.as_slice();
        rows.iter().map(|&row| self.row_cosine(row, query)).max_by(f32::total_cmp)
    }

    fn search(
        &self,
        query: &PreparedQuery,
        top_k: usize,
        visible: &Bitmap,
        _options: &SearchOptions,
        tie: &dyn Fn(u32, u32) -> Ordering,
    ) -> Vec<(u32, f32)> {
        scan::search(self, query, top_k, visible, tie)
    }

    fn warm(&self, slots: &mut dyn Iterator<Item = u32>) {
        for slot in slots {
            let rows = self.rows_of.get(slot as usize).map_or(&[][..], RowList::as_slice);
            rows.iter().for_each(|&row| touch(self.rows.vector(row as usize)));
        }
        self.rows.code_blocks().for_each(touch);
    }

    fn memory_bytes(&self) -> usize {
        let lists = self.rows_of.iter().map(|list| match list {
            RowList::Many(rows) => rows.len() * 4,
            _ => 0,
        });
        self.rows.memory_bytes() + self.rows_of.capacity() * size_of::<RowList>() + lists.sum::<usize>()
    }
}

//! Which rows a slot has. Nearly all have one: four bytes each, and a map for the others.

use rustc_hash::FxHashMap;

use super::params::NONE;
use crate::bitmap::Bitmap;

/// Stands for "see the map".
const MANY: u32 = NONE - 1;

#[derive(Default)]
pub struct Slots {
    rows: Vec<u32>,
    many: FxHashMap<u32, Box<[u32]>>,
    used: Bitmap,
    len: usize,
}

impl Slots {
    /// Slots that have rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Of the visible slots, how many have rows.
    pub fn matching(&self, visible: &Bitmap) -> usize {
        self.used.words().iter().zip(visible.words()).map(|(used, shown)| (used & shown).count_ones() as usize).sum()
    }

    /// Whether a slot has several rows.
    pub fn any_many(&self) -> bool {
        !self.many.is_empty()
    }

    /// One past the largest slot ever used.
    pub fn end(&self) -> usize {
        self.rows.len()
    }

    #[inline]
    pub fn get(&self, slot: u32) -> &[u32] {
        match self.rows.get(slot as usize) {
            None | Some(&NONE) => &[],
            Some(&MANY) => self.many.get(&slot).map_or(&[], |rows| rows),
            Some(row) => std::slice::from_ref(row),
        }
    }

    /// For a slot that has none.
    pub fn put(&mut self, slot: u32, rows: Vec<u32>) {
        if self.rows.len() <= slot as usize {
            self.rows.resize(slot as usize + 1, NONE);
        }
        self.rows[slot as usize] = match rows[..] {
            [] => return,
            [row] => row,
            _ => {
                self.many.insert(slot, rows.into());
                MANY
            }
        };
        self.used.grow(self.rows.len());
        self.used.set(slot);
        self.len += 1;
    }

    pub fn take(&mut self, slot: u32) -> Vec<u32> {
        let rows = self.get(slot).to_vec();
        if !rows.is_empty() {
            self.rows[slot as usize] = NONE;
            self.used.clear(slot);
            self.many.remove(&slot);
            self.len -= 1;
        }
        rows
    }

    pub fn memory_bytes(&self) -> usize {
        self.rows.capacity() * 4
            + self.used.words().len() * 8
            + self.many.capacity() * (4 + size_of::<Box<[u32]>>() + 1)
            + self.many.values().map(|rows| rows.len() * 4).sum::<usize>()
    }
}

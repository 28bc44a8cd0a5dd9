//! Memory ids to slots. A slot is a small dense number, used again after a removal.

mod snapshot;

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::bitmap::Bitmap;
use crate::filter::MemoryIds;

/// A slot in use.
pub struct Slot {
    pub id: Arc<str>,
    pub version: i64,
    /// Counts insertions; an update keeps it.
    pub ordinal: u64,
}

/// All slots.
#[derive(Default)]
pub struct Ids {
    slots: FxHashMap<Arc<str>, u32>,
    entries: Vec<Option<Slot>>,
    live: Bitmap,
    free: Vec<u32>,
    inserted: u64,
}

impl Ids {
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn find(&self, id: &str) -> Option<u32> {
        self.slots.get(id).copied()
    }

    pub fn get(&self, slot: u32) -> Option<&Slot> {
        self.entries.get(slot as usize)?.as_ref()
    }

    /// One bit per slot in use.
    pub fn live(&self) -> &Bitmap {
        &self.live
    }

    /// The slot of a new or known memory, with its version set.
    pub fn put(&mut self, id: &str, version: i64) -> u32 {
        if let Some(slot) = self.find(id) {
            if let Some(entry) = &mut self.entries[slot as usize] {
                entry.version = version;
            }
            return slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() as u32 - 1
        });
        self.live.grow(self.entries.len());
        self.live.set(slot);
        let id: Arc<str> = id.into();
        self.entries[slot as usize] = Some(Slot { id: id.clone(), version, ordinal: self.inserted });
        self.inserted += 1;
        self.slots.insert(id, slot);
        slot
    }

    /// Give a slot back.
    pub fn take(&mut self, id: &str) -> Option<u32> {
        let slot = self.slots.remove(id)?;
        self.entries[slot as usize] = None;
        self.free.push(slot);
        self.live.clear(slot);
        Some(slot)
    }

    pub fn in_insertion_order(&self, chosen: &Bitmap) -> Vec<u32> {
        let mut slots: Vec<u32> = chosen.iter().collect();
        slots.sort_unstable_by_key(|&slot| self.get(slot).map(|entry| entry.ordinal));
        slots
    }

    pub fn memory_bytes(&self) -> usize {
        // An Arc has two counters beside the text; a map entry its key, value and control byte.
        self.slots.keys().map(|id| id.len() + 16).sum::<usize>()
            + self.slots.capacity() * 25
            + self.entries.capacity() * size_of::<Option<Slot>>()
    }
}

impl MemoryIds for Ids {
    fn slot_of(&self, memory_id: &str) -> Option<u32> {
        self.find(memory_id)
    }

    fn id_of(&self, slot: u32) -> Option<&str> {
        self.get(slot).map(|entry| &*entry.id)
    }
}

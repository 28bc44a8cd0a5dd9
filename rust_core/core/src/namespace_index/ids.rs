//! Memory ids to slots. A slot is a small dense number, used again after a removal.

mod snapshot;

use crate::bitmap::Bitmap;
use crate::filter::MemoryIds;
use crate::strings::{StringTable, make_room};

/// A slot in use.
pub struct Slot<'a> {
    pub id: &'a str,
    pub version: i64,
}

/// All slots.
#[derive(Default)]
pub struct Ids {
    /// The number of an id is its slot.
    ids: StringTable,
    /// By slot.
    entries: Vec<Entry>,
    live: Bitmap,
    inserted: u64,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    version: i64,
    /// Counts insertions; an update keeps it.
    ordinal: u64,
}

impl Ids {
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn find(&self, id: &str) -> Option<u32> {
        self.ids.find(id)
    }

    pub fn get(&self, slot: u32) -> Option<Slot<'_>> {
        let id = self.ids.get(slot)?;
        Some(Slot { id, version: self.entries[slot as usize].version })
    }

    /// One bit per slot in use.
    pub fn live(&self) -> &Bitmap {
        &self.live
    }

    /// The slot of a new or known memory, with its version set.
    pub fn put(&mut self, id: &str, version: i64) -> u32 {
        if let Some(slot) = self.find(id) {
            self.entries[slot as usize].version = version;
            return slot;
        }
        let slot = self.ids.insert(id);
        if self.entries.len() < self.ids.end() {
            make_room(&mut self.entries);
            self.entries.push(Entry::default());
        }
        self.live.grow(self.ids.end());
        self.live.set(slot);
        self.entries[slot as usize] = Entry { version, ordinal: self.inserted };
        self.inserted += 1;
        slot
    }

    /// Give a slot back.
    pub fn take(&mut self, id: &str) -> Option<u32> {
        let slot = self.find(id)?;
        self.ids.remove(slot);
        self.live.clear(slot);
        Some(slot)
    }

    pub fn in_insertion_order(&self, chosen: &Bitmap) -> Vec<u32> {
        let mut slots: Vec<u32> = chosen.iter().collect();
        slots.sort_unstable_by_key(|&slot| self.entries.get(slot as usize).map(|entry| entry.ordinal));
        slots
    }

    /// Keep no room for more.
    pub fn shrink_to_fit(&mut self) {
        self.ids.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    pub fn memory_bytes(&self) -> usize {
        self.ids.memory_bytes() + self.entries.capacity() * size_of::<Entry>() + size_of_val(self.live.words())
    }
}

impl MemoryIds for Ids {
    fn slot_of(&self, memory_id: &str) -> Option<u32> {
        self.find(memory_id)
    }

    fn id_of(&self, slot: u32) -> Option<&str> {
        self.ids.get(slot)
    }
}

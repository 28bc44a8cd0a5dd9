//! Ids in a snapshot: memories in the order of their insertion, and the free slots.

use super::{Entry, Ids};
use crate::bitmap::Bitmap;
use crate::snapshot::{Error, Reader, Writer, corrupt};
use crate::strings::StringTable;

impl Ids {
    pub fn encode(&self, out: &mut Writer) {
        let order = self.in_insertion_order(&self.live);
        let entries = || order.iter().filter_map(|&slot| self.get(slot));
        out.count(order.len());
        out.u32s(order.iter().copied());
        out.i64s(entries().map(|entry| entry.version));
        out.strings(entries().map(|entry| entry.id));
        out.count(self.ids.free().len());
        out.u32s(self.ids.free().iter().copied());
    }

    /// Every slot is used by one memory or free, each id stands once.
    pub fn decode(mut reader: Reader) -> Result<Self, Error> {
        let used = reader.count(4 + 8 + 4)?;
        let (order, versions) = (reader.u32s(used)?, reader.i64s(used)?);
        let ids = reader.strings(used)?;
        let free = reader.count(4)?;
        let free: Vec<u32> = reader.u32s(free)?.collect();
        reader.finish()?;
        let len = used + free.len();
        if u32::try_from(len).is_err() {
            return corrupt("there are too many slots");
        }
        let mut made = Self {
            ids: StringTable::with_numbers(len, ids.iter().map(|id| id.len()).sum()),
            entries: vec![Entry::default(); len],
            live: Bitmap::zeros(len),
            inserted: used as u64,
        };
        for ((slot, version), (ordinal, id)) in order.zip(versions).zip((0..).zip(ids)) {
            if !made.ids.place(slot, id) {
                return corrupt("a slot is out of range or used twice, or an id stands twice");
            }
            made.entries[slot as usize] = Entry { version, ordinal };
            made.live.set(slot);
        }
        if made.ids.set_free(free) { Ok(made) } else { corrupt("a free slot is out of range, used or free twice") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(slots: [u32; 2], ids: [&str; 2], free: &[u32]) -> bool {
        let mut out = Writer::default();
        out.count(2);
        out.u32s(slots);
        out.i64s([1, 1]);
        out.strings(ids.into_iter());
        out.count(free.len());
        out.u32s(free.iter().copied());
        Ids::decode(Reader::new(&out.into_bytes())).is_err()
    }

    #[test]
    fn each_slot_has_one_use_and_each_id_one_slot() {
        assert!(!refused([0, 2], ["a", "b"], &[1]));
        assert!(refused([0, 0], ["a", "b"], &[1]), "slot used twice");
        assert!(refused([0, 3], ["a", "b"], &[1]), "slot out of range");
        assert!(refused([0, 2], ["a", "a"], &[1]), "id twice");
        assert!(refused([0, 1], ["a", "b"], &[1]), "used and free");
        assert!(refused([0, 1], ["a", "b"], &[2, 2]), "free twice");
        assert!(refused([0, 1], ["a", "b"], &[4]), "free slot out of range");
    }
}

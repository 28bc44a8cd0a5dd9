//! Giving the last block back when few rows keep it: a block is memory for 4,096 rows, and rows that died and were led
//! around leave room for its rows in the others.

use std::cmp::Reverse;

use super::HnswIndex;
use super::block::ROWS;
use crate::index::quantize::Coded;

/// One in so many living rows may move for a block: about as much work as the repair that made the room. A namespace that
/// lost more than that keeps its blocks for what comes.
const MOVED_SHARE: usize = 25;

impl HnswIndex {
    /// Move at most about `max_rows` rows out of the last block, when all it has fit into the others. They lie in the tail
    /// then, and the rows they were are dead. Returns how many moved. Not while rows are claimed or a repair is under way.
    pub fn compact(&mut self, max_rows: usize) -> usize {
        self.shrink();
        let Some(first) = self.last_block() else { return 0 };
        let rows: Vec<u32> = self.live.iter_from(first).collect();
        let mut slots: Vec<u32> =
            rows.iter().filter_map(|&row| self.table.owner(row)).map(|owner| owner.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        let moved: usize = slots.iter().map(|&slot| self.slots.get(slot).len()).sum();
        let room = self.free.iter().filter(|Reverse(row)| *row < first).count();
        if moved > room || moved * MOVED_SHARE > self.counts.live || self.has_anchors(first) {
            return 0;
        }
        let mut done = 0;
        for slot in slots {
            if done >= max_rows {
                break;
            }
            done += self.move_slot(slot);
        }
        done
    }

    /// Whether only dead rows that a repair takes out are left in the last block.
    pub fn can_free_block(&self) -> bool {
        self.last_block().is_some_and(|first| {
            self.live.iter_from(first).next().is_none()
                && self.linked.iter_from(first).next().is_some()
                && !self.has_anchors(first)
        })
    }

    /// The first row of the last block, when there are others.
    fn last_block(&self) -> Option<u32> {
        let first = self.table.capacity().checked_sub(ROWS)?;
        (first > 0).then_some(first as u32)
    }

    /// A repair leaves a dead node in place for its living twins.
    fn has_anchors(&self, first: u32) -> bool {
        let living_twin = |row| self.table.twins(row).any(|twin| self.live.get(twin));
        self.linked.iter_from(first).any(|row| !self.table.is_twin(row) && living_twin(row))
    }

    fn move_slot(&mut self, slot: u32) -> usize {
        let windows: Vec<(Vec<i8>, f32)> =
            self.slots.get(slot).iter().map(|&row| (self.table.codes(row).to_vec(), self.table.scale(row))).collect();
        self.insert_coded(slot, windows.iter().map(|(codes, scale)| Coded { codes, scale: *scale }));
        windows.len()
    }
}

//! Removing memories.

use super::NamespaceIndex;
use crate::error::Error;
use crate::index::VectorIndex;
use crate::text::TextTraits;

impl NamespaceIndex {
    /// Remove memories; ids that are not there are passed over. Returns how many were there.
    pub fn remove(&self, memory_ids: &[&str], applied_seq: i64) -> Result<usize, Error> {
        let mut state = self.write()?;
        let mut removed = 0;
        for id in memory_ids {
            if let Some(slot) = state.ids.take(id) {
                state.vectors.remove(slot);
                state.words.remove(slot);
                state.conversations.remove(slot);
                state.fields.remove(slot);
                if let Some(traits) = state.traits.get_mut(slot as usize) {
                    *traits = TextTraits::default();
                }
                removed += 1;
            }
        }
        self.applied(&state, applied_seq);
        Ok(removed)
    }
}

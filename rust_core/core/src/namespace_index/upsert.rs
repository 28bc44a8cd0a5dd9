//! Adding and replacing memories.

use std::thread;

use super::entry::{Entry, Ready};
use super::{NamespaceIndex, State};
use crate::conversation::Session;
use crate::error::Error;
use crate::fields::column;
use crate::index::VectorIndex;
use crate::text::TextTraits;

/// From this many entries on, two threads prepare them: below it starting one costs more than it saves.
const TWO_THREADS_MIN_ENTRIES: usize = 64;

impl NamespaceIndex {
    /// Add or replace a batch. All entries are checked before any is applied; with the same id twice the later one stays.
    pub fn upsert(&self, entries: &[&Entry], applied_seq: i64) -> Result<(), Error> {
        let ready = prepare(entries, self.dimensions)?;
        let mut state = self.write()?;
        if state.ids.len() == 0 {
            state.vectors.reserve(ready.len(), ready.iter().map(|ready| ready.windows.len()).sum());
        }
        for (entry, ready) in entries.iter().zip(&ready) {
            state.apply(entry, ready);
        }
        self.applied(&state, applied_seq);
        Ok(())
    }
}

impl State {
    fn apply(&mut self, entry: &Entry, ready: &Ready) {
        let slot = self.ids.put(&entry.memory_id, entry.version);
        self.vectors.insert(slot, &ready.windows);
        self.words.insert(slot, &ready.words);
        self.fields.insert(slot, &ready.fields);
        self.join_session(slot);
        if self.traits.len() <= slot as usize {
            self.traits.resize(slot as usize + 1, TextTraits::default());
        }
        self.traits[slot as usize] = ready.traits.clone();
    }

    /// Put a slot into its session, by its fields.
    pub(super) fn join_session(&mut self, slot: u32) {
        self.conversations.insert(slot, self.session(slot), self.fields.integer(column::POSITION, slot));
    }

    fn session(&self, slot: u32) -> Session {
        let string = |field| self.fields.string(field, slot);
        Session {
            user_id: string(column::USER_ID),
            agent_id: string(column::AGENT_ID),
            session_id: string(column::SESSION_ID),
        }
    }
}

/// The work per entry (parsing, stemming, quantising), outside the lock.
fn prepare(entries: &[&Entry], dimensions: usize) -> Result<Vec<Ready>, Error> {
    let prepare_part =
        |part: &[&Entry]| -> Result<Vec<Ready>, Error> { part.iter().map(|entry| entry.prepare(dimensions)).collect() };
    if entries.len() < TWO_THREADS_MIN_ENTRIES {
        return prepare_part(entries);
    }
    let (first, second) = entries.split_at(entries.len() / 2);
    thread::scope(|scope| {
        let second = scope.spawn(|| prepare_part(second));
        let mut ready = prepare_part(first)?;
        ready.extend(second.join().map_err(|_| Error::Broken)??);
        Ok(ready)
    })
}

//! Vectors, words and fields of one namespace, kept in step under one lock.

mod candidates;
mod entry;
mod ids;
mod remove;
mod search;
mod snapshot;
mod upsert;
mod versions;

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use entry::Entry;
pub use search::{Hit, PreparedSearch, SearchResult, Sight};

use crate::bitmap::Bitmap;
use crate::conversation::Conversations;
use crate::error::Error;
use crate::fields::Columns;
use crate::filter::{Filter, evaluate, parse_filter};
use crate::index::{Maintenance, VectorIndex, Vectors, Work, check_dimensions};
use crate::text::{Collection, LexicalIndex, TextTraits};
use ids::Ids;

/// An index of memories. Searches run concurrently; a change waits for them and is seen whole by the next one.
pub struct NamespaceIndex {
    dimensions: usize,
    state: RwLock<State>,
    maintenance: Maintenance,
    /// Both are set before a change lets go of the lock, so that who reads them finds at least that much in the state; they
    /// stand outside it because they are asked for all the time and must not wait.
    len: AtomicUsize,
    applied_seq: AtomicI64,
    /// Changes begun, counted under the lock: what was found out before one of them may not hold any more.
    changes: AtomicU64,
}

/// Estimates of the heap by what it is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryBytes {
    /// Codes and links.
    pub vectors: usize,
    /// Memory ids, their slots and versions.
    pub ids: usize,
    /// Words, and what else the texts tell.
    pub words: usize,
    /// Fields, and who stands beside whom by them.
    pub fields: usize,
}

/// Memories up to which nothing is left in reserve after maintenance: a daemon has many small namespaces, and making room
/// anew costs their next write microseconds.
const TIGHT_MEMORIES: usize = 1_000;

struct State {
    ids: Ids,
    vectors: Vectors,
    words: LexicalIndex,
    fields: Columns,
    /// Who stands beside whom, from the fields.
    conversations: Conversations,
    /// By slot; what the texts tell beside their words.
    traits: Vec<TextTraits>,
}

impl State {
    fn shrink_to_fit(&mut self) {
        self.ids.shrink_to_fit();
        self.vectors.shrink_to_fit();
        self.words.shrink_to_fit();
        self.fields.shrink_to_fit();
        self.conversations.shrink_to_fit();
        self.traits.shrink_to_fit();
    }

    /// The memories that pass; None lets all pass.
    fn visible(&self, filter: Option<&Filter>) -> Bitmap {
        let Some(filter) = filter else { return self.ids.live().clone() };
        let mut visible = evaluate(filter, &self.fields, &self.ids);
        visible.and(self.ids.live());
        visible
    }
}

impl NamespaceIndex {
    /// For vectors of `dimensions` components, 1 to `MAX_DIMENSIONS`.
    pub fn new(dimensions: usize) -> Result<Self, Error> {
        check_dimensions(dimensions)?;
        let state = State {
            ids: Ids::default(),
            vectors: Vectors::new(dimensions),
            words: LexicalIndex::default(),
            fields: Columns::new(),
            conversations: Conversations::default(),
            traits: Vec::new(),
        };
        let (maintenance, len, applied_seq, changes) = Default::default();
        Ok(Self { dimensions, state: RwLock::new(state), maintenance, len, applied_seq, changes })
    }

    /// The same with a graph from more than so many vectors on, where `new` and `load` take `FLAT_MAX_ROWS`: for who wants
    /// to see the graph at work with few.
    pub fn with_flat_max_rows(mut self, flat_max_rows: usize) -> Self {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.vectors.set_flat_max_rows(flat_max_rows);
        self
    }

    fn read(&self) -> Result<RwLockReadGuard<'_, State>, Error> {
        self.state.read().map_err(|_| Error::Broken)
    }

    fn write(&self) -> Result<RwLockWriteGuard<'_, State>, Error> {
        let state = self.state.write().map_err(|_| Error::Broken)?;
        self.changes.fetch_add(1, Ordering::Relaxed);
        Ok(state)
    }

    /// Components of a vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Publish what a change has done; called while it holds the lock.
    fn applied(&self, state: &State, seq: i64) {
        self.len.store(state.ids.len(), Ordering::Release);
        self.applied_seq.fetch_max(seq, Ordering::Release);
    }

    /// Memories there are.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a memory is there.
    pub fn contains(&self, memory_id: &str) -> Result<bool, Error> {
        Ok(self.read()?.ids.find(memory_id).is_some())
    }

    /// The largest sequence number applied.
    pub fn applied_seq(&self) -> i64 {
        self.applied_seq.load(Ordering::Acquire)
    }

    /// Every memory with its version, in insertion order.
    pub fn versions(&self) -> Result<Vec<(String, i64)>, Error> {
        let state = self.read()?;
        let slots = state.ids.in_insertion_order(state.ids.live());
        Ok(slots.into_iter().filter_map(|slot| state.ids.get(slot)).map(|e| (e.id.to_string(), e.version)).collect())
    }

    /// Ids of the memories that pass a filter (JSON), in insertion order.
    pub fn matching(&self, filter: Option<&[u8]>) -> Result<Vec<String>, Error> {
        let filter = filter.map(parse_filter).transpose()?;
        let state = self.read()?;
        let slots = state.ids.in_insertion_order(&state.visible(filter.as_ref()));
        Ok(slots.into_iter().filter_map(|slot| state.ids.get(slot)).map(|e| e.id.to_string()).collect())
    }

    /// Weigh words as in a larger collection that the memories here are a part of. Snapshots do not keep it.
    pub fn set_collection(&self, collection: Collection) -> Result<(), Error> {
        self.write()?.words.set_collection(collection);
        Ok(())
    }

    /// Keep vector search fast: link at most `max_rows` vectors that wait for it and look at no more for repair, in `threads`
    /// threads. To be called behind the requests for as long as something is left; searches and changes go on meanwhile.
    pub fn maintain(&self, max_rows: usize, threads: usize) -> Result<Work, Error> {
        let work = self.maintenance.run(&self.state, |state| &mut state.vectors, max_rows, threads)?;
        if self.len() <= TIGHT_MEMORIES {
            self.write()?.shrink_to_fit();
        }
        Ok(work)
    }

    /// Estimate of the memory it holds.
    pub fn memory_bytes(&self) -> Result<usize, Error> {
        let MemoryBytes { vectors, ids, words, fields } = self.memory_parts()?;
        Ok(size_of::<Self>() + vectors + ids + words + fields)
    }

    /// What of it is held by what.
    pub fn memory_parts(&self) -> Result<MemoryBytes, Error> {
        let state = self.read()?;
        Ok(MemoryBytes {
            vectors: state.vectors.memory_bytes(),
            ids: state.ids.memory_bytes(),
            words: state.words.memory_bytes()
                + state.traits.capacity() * size_of::<TextTraits>()
                + state.traits.iter().map(TextTraits::memory_bytes).sum::<usize>(),
            fields: state.fields.memory_bytes() + state.conversations.memory_bytes(),
        })
    }
}

#[cfg(test)]
mod cue_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod timing;

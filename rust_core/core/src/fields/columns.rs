//! Columns over slots. Fixed fields are dense; tags and metadata are sparse, since keys are the caller's and may be many.
//!
//! A dense column ends with the last value that was put into it; what is behind is absent. Most namespaces use few of the
//! fields, and a column nobody uses takes nothing.

mod snapshot;

use rustc_hash::FxHashMap;

use super::parse::{Fields, NO_INTEGER};
use super::value::{Cell, Scalar};
use super::{INTEGER_FIELDS, STRING_FIELDS};
use crate::interner::{ABSENT, Interner, StringId};

/// Codes of the bool column.
pub const BOOL_ABSENT: u8 = 0;
/// False is there.
pub const BOOL_FALSE: u8 = 1;
/// True is there.
pub const BOOL_TRUE: u8 = 2;

/// Values of some slots, in no order.
#[derive(Default)]
pub struct SparseColumn {
    /// The metadata key, while there are values.
    key: String,
    slots: Vec<u32>,
    cells: Vec<Cell<StringId>>,
}

impl SparseColumn {
    /// Slots with their values.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Cell<StringId>)> {
        self.slots.iter().copied().zip(&self.cells)
    }
}

/// All columns of a namespace.
#[derive(Default)]
pub struct Columns {
    /// Strings of all columns.
    pub strings: Interner,
    /// In the order of `STRING_FIELDS`; `ABSENT` for none.
    pub string_columns: [Vec<StringId>; STRING_FIELDS.len()],
    /// In the order of `INTEGER_FIELDS`; `NO_INTEGER` for none.
    pub integer_columns: [Vec<i64>; INTEGER_FIELDS.len()],
    /// NaN for none.
    pub importance: Vec<f64>,
    /// `BOOL_ABSENT`, `BOOL_FALSE` or `BOOL_TRUE`.
    pub pinned: Vec<u8>,
    /// `TAGS` and the metadata columns.
    sparse: Vec<SparseColumn>,
    keys: FxHashMap<String, u32>,
    free_columns: Vec<u32>,
    /// By slot: sparse column and position in it, sorted by column. Ends as the dense columns do.
    entries: Vec<Box<[(u32, u32)]>>,
    /// Slots there are, used or not.
    len: usize,
}

/// Set the value of a slot in a dense column.
fn set<T: Clone>(column: &mut Vec<T>, at: usize, value: Option<T>, absent: T) {
    match (column.get_mut(at), value) {
        (Some(place), value) => *place = value.unwrap_or(absent),
        (None, None) => {}
        (None, Some(value)) => {
            column.resize(at, absent);
            column.push(value);
        }
    }
}

/// The sparse column of `tags`.
const TAGS: u32 = 0;

impl Columns {
    /// No slots yet.
    pub fn new() -> Self {
        Self { sparse: vec![SparseColumn::default()], ..Self::default() }
    }

    /// Slots there are, used or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no slots.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The tags of the slots that have any.
    pub fn tags(&self) -> &SparseColumn {
        &self.sparse[TAGS as usize]
    }

    /// The values of a metadata key.
    pub fn metadata(&self, key: &str) -> Option<&SparseColumn> {
        self.keys.get(key).map(|&column| &self.sparse[column as usize])
    }

    /// Set the fields of a slot, replacing what it had.
    pub fn insert(&mut self, slot: u32, fields: &Fields) {
        self.remove(slot);
        let at = slot as usize;
        self.len = self.len.max(at + 1);
        for (column, string) in self.string_columns.iter_mut().zip(&fields.strings) {
            set(column, at, string.as_deref().map(|s| self.strings.acquire(s)), ABSENT);
        }
        for (column, integer) in self.integer_columns.iter_mut().zip(&fields.integers) {
            set(column, at, *integer, NO_INTEGER);
        }
        set(&mut self.importance, at, fields.importance, f64::NAN);
        set(&mut self.pinned, at, fields.pinned.map(|b| if b { BOOL_TRUE } else { BOOL_FALSE }), BOOL_ABSENT);
        let mut entries = Vec::with_capacity(fields.metadata.len() + 1);
        if let Some(tags) = &fields.tags {
            entries.push(self.put(slot, TAGS, tags));
        }
        for (key, cell) in &fields.metadata {
            let column = self.column(key);
            entries.push(self.put(slot, column, cell));
        }
        entries.sort_unstable();
        set(&mut self.entries, at, (!entries.is_empty()).then(|| entries.into()), Box::default());
    }

    /// The number of a slot's string; `ABSENT` for none. `field` is a place in `STRING_FIELDS`.
    pub fn string(&self, field: usize, slot: u32) -> StringId {
        self.string_columns[field].get(slot as usize).copied().unwrap_or(ABSENT)
    }

    /// A slot's integer. `field` is a place in `INTEGER_FIELDS`.
    pub fn integer(&self, field: usize, slot: u32) -> Option<i64> {
        self.integer_columns[field].get(slot as usize).copied().filter(|integer| *integer != NO_INTEGER)
    }

    fn column(&mut self, key: &str) -> u32 {
        if let Some(&column) = self.keys.get(key) {
            return column;
        }
        let column = self.free_columns.pop().unwrap_or_else(|| {
            self.sparse.push(SparseColumn::default());
            self.sparse.len() as u32 - 1
        });
        self.sparse[column as usize].key = key.to_owned();
        self.keys.insert(key.to_owned(), column);
        column
    }

    fn put(&mut self, slot: u32, column: u32, cell: &Cell<String>) -> (u32, u32) {
        let cell = cell.intern(|string| self.strings.acquire(string));
        let sparse = &mut self.sparse[column as usize];
        sparse.slots.push(slot);
        sparse.cells.push(cell);
        (column, sparse.slots.len() as u32 - 1)
    }

    /// Forget the fields of a slot.
    pub fn remove(&mut self, slot: u32) {
        let at = slot as usize;
        for string in self.string_columns.iter_mut().filter_map(|column| column.get_mut(at)) {
            self.strings.release(std::mem::replace(string, ABSENT));
        }
        self.integer_columns.iter_mut().for_each(|column| set(column, at, None, NO_INTEGER));
        set(&mut self.importance, at, None, f64::NAN);
        set(&mut self.pinned, at, None, BOOL_ABSENT);
        for (column, position) in self.entries.get_mut(at).map(std::mem::take).unwrap_or_default() {
            self.take(column, position);
        }
    }

    fn take(&mut self, column: u32, position: u32) {
        let sparse = &mut self.sparse[column as usize];
        sparse.slots.swap_remove(position as usize);
        let cell = sparse.cells.swap_remove(position as usize);
        for value in cell.values() {
            if let Scalar::String(id) = value {
                self.strings.release(*id);
            }
        }
        if let Some(&moved) = sparse.slots.get(position as usize) {
            let entries = &mut self.entries[moved as usize];
            let at = entries.binary_search_by_key(&column, |e| e.0).expect("a cell is listed by its slot");
            entries[at].1 = position;
        } else if sparse.slots.is_empty() && column != TAGS {
            self.keys.remove(&std::mem::take(sparse).key);
            self.free_columns.push(column);
        }
    }

    /// Whether no string, tag or metadata value is left.
    #[cfg(test)]
    pub fn holds_nothing(&self) -> bool {
        self.strings.is_empty() && self.keys.is_empty() && self.sparse.iter().all(|column| column.slots.is_empty())
    }

    /// Keep no room for more, where that matters: in a small index.
    pub fn shrink_to_fit(&mut self) {
        self.strings.shrink_to_fit();
        self.string_columns.iter_mut().for_each(Vec::shrink_to_fit);
        self.integer_columns.iter_mut().for_each(Vec::shrink_to_fit);
        self.importance.shrink_to_fit();
        self.pinned.shrink_to_fit();
        self.entries.shrink_to_fit();
        for column in &mut self.sparse {
            column.slots.shrink_to_fit();
            column.cells.shrink_to_fit();
        }
    }

    /// Estimate of the heap it holds.
    pub fn memory_bytes(&self) -> usize {
        let dense = 4 * self.string_columns.iter().map(Vec::capacity).sum::<usize>()
            + 8 * self.integer_columns.iter().map(Vec::capacity).sum::<usize>()
            + 8 * self.importance.capacity()
            + self.pinned.capacity()
            + self.entries.capacity() * size_of::<Box<[(u32, u32)]>>();
        let cells = self.sparse.iter().map(|column| {
            let lists = column.cells.iter().map(|cell| match cell {
                Cell::Many(values) => size_of_val::<[Scalar<StringId>]>(values),
                Cell::One(_) => 0,
            });
            column.slots.capacity() * (4 + size_of::<Cell<StringId>>()) + lists.sum::<usize>()
        });
        let entries = self.entries.iter().map(|e| e.len() * 8).sum::<usize>();
        self.strings.memory_bytes() + dense + cells.sum::<usize>() + entries + self.keys.len() * 64
    }
}

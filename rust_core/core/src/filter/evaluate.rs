//! Filters over columns: each comparison is one pass over one column and gives one bit per slot.

use rustc_hash::FxHashSet;

use super::ranges::{equal_integer, integer_range};
use super::{Field, Filter, Order};
use crate::bitmap::{Bitmap, WORD_BITS};
use crate::fields::{
    BOOL_ABSENT, BOOL_FALSE, BOOL_TRUE, Cell, Columns, NO_INTEGER, Number, Scalar, SparseColumn, Text,
};
use crate::index::kernels::{Level, between_i64, equal_u32, test_each};
use crate::interner::{ABSENT, StringId};

/// Memory ids and slots, each from the other.
pub trait MemoryIds {
    /// The slot of a memory.
    fn slot_of(&self, memory_id: &str) -> Option<u32>;
    /// The memory of a slot; None for a free one.
    fn id_of(&self, slot: u32) -> Option<&str>;
}

/// The slots that pass. Free slots may pass too (a `not` turns them on): the caller keeps the live ones.
pub fn evaluate(filter: &Filter, columns: &Columns, ids: &dyn MemoryIds) -> Bitmap {
    Evaluation { columns, ids, level: Level::detect() }.filter(filter)
}

struct Evaluation<'a> {
    columns: &'a Columns,
    ids: &'a dyn MemoryIds,
    level: Level,
}

impl Evaluation<'_> {
    fn filter(&self, filter: &Filter) -> Bitmap {
        match filter {
            Filter::And(parts) => self.fold(parts, Bitmap::ones(self.columns.len()), Bitmap::and),
            Filter::Or(parts) => self.fold(parts, Bitmap::zeros(self.columns.len()), Bitmap::or),
            Filter::Not(part) => {
                let mut bits = self.filter(part);
                bits.not();
                bits
            }
            Filter::In(field, values) => self.member(field, values),
            Filter::Ordered(order, field, value) => self.ordered(*order, field, value),
            Filter::Exists(field) => self.exists(field),
        }
    }

    fn fold(&self, parts: &[Filter], start: Bitmap, step: fn(&mut Bitmap, &Bitmap)) -> Bitmap {
        parts.iter().fold(start, |mut bits, part| {
            step(&mut bits, &self.filter(part));
            bits
        })
    }

    /// Of a column that may end early: what is behind it does not pass.
    fn bits(&self, mut words: Vec<u64>) -> Bitmap {
        words.resize(self.columns.len().div_ceil(WORD_BITS), 0);
        Bitmap::from_words(words, self.columns.len())
    }

    fn zeros(&self) -> Bitmap {
        Bitmap::zeros(self.columns.len())
    }

    /// Set the slots of a sparse column whose cell passes.
    fn sparse(&self, column: Option<&SparseColumn>, test: impl Fn(&Cell<StringId>) -> bool) -> Bitmap {
        let mut bits = self.zeros();
        for (slot, cell) in column.into_iter().flat_map(SparseColumn::iter) {
            if test(cell) {
                bits.set(slot);
            }
        }
        bits
    }

    fn member(&self, field: &Field, values: &[Text]) -> Bitmap {
        match field {
            Field::MemoryId => {
                let mut bits = self.zeros();
                let slots = strings(values).filter_map(|id| self.ids.slot_of(id));
                slots.for_each(|slot| bits.set(slot));
                bits
            }
            Field::String(at) => self.string_member(&self.columns.string_columns[*at], values),
            Field::Integer(at) => {
                let mut wanted: Vec<i64> = numbers(values).filter_map(equal_integer).collect();
                wanted.sort_unstable();
                let column = &self.columns.integer_columns[*at];
                self.bits(match wanted[..] {
                    [one] => between_i64(self.level, column, one, one),
                    _ => test_each(column, |v| wanted.binary_search(&v).is_ok()),
                })
            }
            Field::Importance => {
                let wanted: Vec<f64> = numbers(values).filter_map(equal_float).collect();
                self.bits(test_each(&self.columns.importance, |v| wanted.contains(&v)))
            }
            Field::Pinned => {
                let has = |wanted: bool| values.iter().any(|v| matches!(v, Scalar::Bool(b) if *b == wanted));
                let (yes, no) = (has(true), has(false));
                self.bits(test_each(&self.columns.pinned, |v| v == BOOL_TRUE && yes || v == BOOL_FALSE && no))
            }
            Field::Tags => self.sparse_member(Some(self.columns.tags()), values),
            Field::Metadata(key) => self.sparse_member(self.columns.metadata(key), values),
        }
    }

    fn string_member(&self, column: &[StringId], values: &[Text]) -> Bitmap {
        let wanted: FxHashSet<StringId> = strings(values).filter_map(|s| self.columns.strings.find(s)).collect();
        let mut few = wanted.iter();
        self.bits(match (few.next(), few.next()) {
            (None, _) => return self.zeros(),
            (Some(&one), None) => equal_u32(self.level, column, one),
            _ => test_each(column, |id| wanted.contains(&id)),
        })
    }

    fn sparse_member(&self, column: Option<&SparseColumn>, values: &[Text]) -> Bitmap {
        let wanted: FxHashSet<StringId> = strings(values).filter_map(|s| self.columns.strings.find(s)).collect();
        self.sparse(column, |cell| {
            cell.values().iter().any(|have| match have {
                Scalar::String(id) => wanted.contains(id),
                Scalar::Number(n) => numbers(values).any(|want| n.compare(want).is_eq()),
                Scalar::Bool(b) => values.iter().any(|want| matches!(want, Scalar::Bool(w) if w == b)),
            })
        })
    }

    fn ordered(&self, order: Order, field: &Field, value: &Text) -> Bitmap {
        match (field, value) {
            (Field::MemoryId, Scalar::String(wanted)) => {
                let mut bits = self.zeros();
                for slot in 0..self.columns.len() as u32 {
                    if self.ids.id_of(slot).is_some_and(|id| order.holds(id.cmp(wanted))) {
                        bits.set(slot);
                    }
                }
                bits
            }
            (Field::String(at), Scalar::String(wanted)) => {
                let strings = &self.columns.strings;
                let test = |id| strings.get(id).is_some_and(|have| order.holds(have.cmp(wanted)));
                self.bits(test_each(&self.columns.string_columns[*at], test))
            }
            (Field::Integer(at), Scalar::Number(wanted)) => {
                let (low, high) = integer_range(order, *wanted);
                self.bits(between_i64(self.level, &self.columns.integer_columns[*at], low, high))
            }
            (Field::Importance, Scalar::Number(wanted)) => {
                let test = |have: f64| !have.is_nan() && order.holds(Number::Float(have).compare(*wanted));
                self.bits(test_each(&self.columns.importance, test))
            }
            (Field::Metadata(key), wanted) => {
                self.sparse(self.columns.metadata(key), |cell| self.cell_ordered(order, cell, wanted))
            }
            // Another kind, or a field that has no order.
            _ => self.zeros(),
        }
    }

    fn cell_ordered(&self, order: Order, cell: &Cell<StringId>, wanted: &Text) -> bool {
        match (cell, wanted) {
            (Cell::One(Scalar::String(id)), Scalar::String(wanted)) => {
                self.columns.strings.get(*id).is_some_and(|have| order.holds(have.cmp(wanted)))
            }
            (Cell::One(Scalar::Number(have)), Scalar::Number(wanted)) => order.holds(have.compare(*wanted)),
            _ => false,
        }
    }

    fn exists(&self, field: &Field) -> Bitmap {
        match field {
            Field::MemoryId => Bitmap::ones(self.columns.len()),
            Field::String(at) => {
                let column = &self.columns.string_columns[*at];
                let mut there = Bitmap::from_words(equal_u32(self.level, column, ABSENT), column.len());
                there.not();
                there.grow(self.columns.len());
                there
            }
            Field::Integer(at) => {
                let column = &self.columns.integer_columns[*at];
                self.bits(between_i64(self.level, column, NO_INTEGER + 1, i64::MAX))
            }
            Field::Importance => self.bits(test_each(&self.columns.importance, |v: f64| !v.is_nan())),
            Field::Pinned => self.bits(test_each(&self.columns.pinned, |v| v != BOOL_ABSENT)),
            Field::Tags => self.sparse(Some(self.columns.tags()), |_| true),
            Field::Metadata(key) => self.sparse(self.columns.metadata(key), |_| true),
        }
    }
}

fn strings(values: &[Text]) -> impl Iterator<Item = &str> {
    values.iter().filter_map(|v| match v {
        Scalar::String(string) => Some(string.as_str()),
        _ => None,
    })
}

fn numbers(values: &[Text]) -> impl Iterator<Item = Number> {
    values.iter().filter_map(|v| match v {
        Scalar::Number(number) => Some(*number),
        _ => None,
    })
}

/// The float that equals a number; integers between two floats equal none.
fn equal_float(value: Number) -> Option<f64> {
    match value {
        Number::Float(f) => Some(f),
        Number::Integer(i) => {
            let float = i as f64;
            Number::Float(float).compare(value).is_eq().then_some(float)
        }
    }
}

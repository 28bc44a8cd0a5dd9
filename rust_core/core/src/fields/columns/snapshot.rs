//! Fields in a snapshot: the dense columns over the slots in use, then the sparse ones with their slots. Which cells a slot
//! has is made from those.

use super::{BOOL_ABSENT, BOOL_TRUE, Columns, SparseColumn, TAGS, set};
use crate::bitmap::Bitmap;
use crate::fields::{Cell, INTEGER_FIELDS, NO_INTEGER, Number, STRING_FIELDS, Scalar};
use crate::interner::{ABSENT, Interner, StringId};
use crate::limits::MAX_LIST_VALUES;
use crate::snapshot::{Error, Reader, Writer, corrupt};

/// What a scalar is.
const STRING: u8 = 0;
const INTEGER: u8 = 1;
const FLOAT: u8 = 2;
const FALSE: u8 = 3;
const TRUE: u8 = 4;
/// A list: the number of its values, then each.
const MANY: u8 = 5;

const DENSE_BYTES: usize = 4 * STRING_FIELDS.len() + 8 * INTEGER_FIELDS.len() + 8 + 1;

impl Columns {
    /// `live`: the slots in use; the others hold nothing.
    pub(crate) fn encode(&self, out: &mut Writer, live: &Bitmap) {
        let numbers = self.strings.encode(out);
        let slots = || live.iter().map(|slot| slot as usize);
        out.reserve(live.count() * DENSE_BYTES);
        for column in &self.string_columns {
            out.u32s(slots().map(|slot| numbers[column.get(slot).copied().unwrap_or(ABSENT) as usize]));
        }
        for column in &self.integer_columns {
            out.i64s(slots().map(|slot| column.get(slot).copied().unwrap_or(NO_INTEGER)));
        }
        slots().for_each(|slot| out.f64(self.importance.get(slot).copied().unwrap_or(f64::NAN)));
        slots().for_each(|slot| out.u8(self.pinned.get(slot).copied().unwrap_or(BOOL_ABSENT)));
        let metadata = || self.sparse[TAGS as usize + 1..].iter().filter(|column| !column.slots.is_empty());
        out.count(metadata().count());
        out.strings(metadata().map(|column| column.key.as_str()));
        std::iter::once(self.tags()).chain(metadata()).for_each(|column| column.encode(out, &numbers));
    }

    /// The opposite of `encode`.
    pub(crate) fn decode(mut reader: Reader, live: &Bitmap) -> Result<Self, Error> {
        let mut made = Self { strings: Interner::decode(&mut reader)?, ..Self::new() };
        made.len = live.len();
        made.read_dense(&mut reader, live)?;
        let keys = reader.count(4)?;
        let keys = reader.strings(keys)?;
        made.sparse = std::iter::once("")
            .chain(keys)
            .map(|key| SparseColumn::decode(&mut reader, key, live, &mut made.strings))
            .collect::<Result<_, Error>>()?;
        reader.finish()?;
        made.strings.all_used()?;
        made.check_tags()?;
        made.list_keys()?;
        made.list_entries()?;
        Ok(made)
    }

    fn read_dense(&mut self, reader: &mut Reader, live: &Bitmap) -> Result<(), Error> {
        let count = live.count();
        for column in &mut self.string_columns {
            for (slot, string) in live.iter().zip(reader.u32s(count)?) {
                if string != ABSENT {
                    self.strings.reuse(string)?;
                }
                set(column, slot as usize, (string != ABSENT).then_some(string), ABSENT);
            }
        }
        for column in &mut self.integer_columns {
            for (slot, integer) in live.iter().zip(reader.i64s(count)?) {
                set(column, slot as usize, (integer != NO_INTEGER).then_some(integer), NO_INTEGER);
            }
        }
        for (slot, importance) in live.iter().zip(reader.f64s(count)?) {
            if importance.is_infinite() {
                return corrupt("an importance is not finite");
            }
            set(&mut self.importance, slot as usize, (!importance.is_nan()).then_some(importance), f64::NAN);
        }
        for (slot, &pinned) in live.iter().zip(reader.bytes(count)?) {
            if !(BOOL_ABSENT..=BOOL_TRUE).contains(&pinned) {
                return corrupt("a bool is neither true nor false");
            }
            set(&mut self.pinned, slot as usize, (pinned != BOOL_ABSENT).then_some(pinned), BOOL_ABSENT);
        }
        Ok(())
    }

    /// Tags are lists of strings.
    fn check_tags(&self) -> Result<(), Error> {
        let string = |value: &Scalar<StringId>| matches!(value, Scalar::String(_));
        let tags = |cell: &Cell<StringId>| matches!(cell, Cell::Many(values) if values.iter().all(string));
        if self.tags().cells.iter().all(tags) { Ok(()) } else { corrupt("tags are not a list of strings") }
    }

    /// Metadata columns are not empty, and each key has one.
    fn list_keys(&mut self) -> Result<(), Error> {
        for (number, column) in (0..).zip(&self.sparse).skip(TAGS as usize + 1) {
            let known = self.keys.insert(column.key.clone(), number);
            if column.key.is_empty() || column.slots.is_empty() || known.is_some() {
                return corrupt("a metadata key is empty, without values or there twice");
            }
        }
        Ok(())
    }

    /// Which cells each slot has: columns ascending, each at most once.
    fn list_entries(&mut self) -> Result<(), Error> {
        let mut lists: Vec<Vec<(u32, u32)>> = vec![Vec::new(); self.len()];
        for (number, column) in (0..).zip(&self.sparse) {
            for (position, &slot) in (0..).zip(&column.slots) {
                let list = &mut lists[slot as usize];
                if list.last().is_some_and(|&(last, _)| last == number) {
                    return corrupt("a memory has two values for one key");
                }
                list.push((number, position));
            }
        }
        let end = lists.iter().rposition(|list| !list.is_empty()).map_or(0, |last| last + 1);
        lists.truncate(end);
        self.entries = lists.into_iter().map(Vec::into_boxed_slice).collect();
        Ok(())
    }
}

impl SparseColumn {
    fn encode(&self, out: &mut Writer, numbers: &[StringId]) {
        out.count(self.slots.len());
        out.u32s(self.slots.iter().copied());
        for cell in &self.cells {
            if let Cell::Many(values) = cell {
                out.u8(MANY);
                out.count(values.len());
            }
            cell.values().iter().for_each(|value| encode_scalar(out, value, numbers));
        }
    }

    fn decode(reader: &mut Reader, key: &str, live: &Bitmap, strings: &mut Interner) -> Result<Self, Error> {
        let count = reader.count(4 + 1)?;
        let slots: Vec<u32> = reader.u32s(count)?.collect();
        if !slots.iter().all(|&slot| live.get(slot)) {
            return corrupt("a value belongs to no memory");
        }
        let cells = slots.iter().map(|_| decode_cell(reader, strings)).collect::<Result<_, Error>>()?;
        Ok(Self { key: key.to_owned(), slots, cells })
    }
}

fn encode_scalar(out: &mut Writer, value: &Scalar<StringId>, numbers: &[StringId]) {
    match value {
        Scalar::String(string) => {
            out.u8(STRING);
            out.u32(numbers[*string as usize]);
        }
        Scalar::Number(Number::Integer(integer)) => {
            out.u8(INTEGER);
            out.i64(*integer);
        }
        Scalar::Number(Number::Float(float)) => {
            out.u8(FLOAT);
            out.f64(*float);
        }
        Scalar::Bool(b) => out.u8(if *b { TRUE } else { FALSE }),
    }
}

fn decode_cell(reader: &mut Reader, strings: &mut Interner) -> Result<Cell<StringId>, Error> {
    let kind = reader.u8()?;
    if kind != MANY {
        return decode_scalar(kind, reader, strings).map(Cell::One);
    }
    let count = reader.count(1)?;
    if !(1..=MAX_LIST_VALUES).contains(&count) {
        return corrupt("a list is empty or too long");
    }
    let values = (0..count).map(|_| {
        let kind = reader.u8()?;
        decode_scalar(kind, reader, strings)
    });
    values.collect::<Result<_, Error>>().map(Cell::Many)
}

fn decode_scalar(kind: u8, reader: &mut Reader, strings: &mut Interner) -> Result<Scalar<StringId>, Error> {
    match kind {
        STRING => {
            let string = reader.u32()?;
            strings.reuse(string)?;
            Ok(Scalar::String(string))
        }
        INTEGER => reader.i64().map(|integer| Scalar::Number(Number::Integer(integer))),
        FLOAT => match reader.f64()? {
            float if float.is_finite() => Ok(Scalar::Number(Number::Float(float))),
            _ => corrupt("a number is not finite"),
        },
        FALSE => Ok(Scalar::Bool(false)),
        TRUE => Ok(Scalar::Bool(true)),
        _ => corrupt("a value has no such kind"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One memory; its `pinned`, and metadata keys, each with true for the memories listed.
    fn refused(pinned: u8, keys: &[(&str, &[u32])]) -> bool {
        let mut out = Writer::default();
        out.count(0);
        out.u32s([ABSENT; STRING_FIELDS.len()]);
        out.i64s([NO_INTEGER; INTEGER_FIELDS.len()]);
        out.f64(f64::NAN);
        out.u8(pinned);
        out.count(keys.len());
        out.strings(keys.iter().map(|(key, _)| *key));
        for slots in std::iter::once(&[][..]).chain(keys.iter().map(|(_, slots)| *slots)) {
            out.count(slots.len());
            out.u32s(slots.iter().copied());
            slots.iter().for_each(|_| out.u8(TRUE));
        }
        Columns::decode(Reader::new(&out.into_bytes()), &Bitmap::ones(1)).is_err()
    }

    #[test]
    fn values_are_in_range_and_belong_to_a_memory_under_one_key() {
        assert!((BOOL_ABSENT..=BOOL_TRUE).all(|pinned| !refused(pinned, &[("k", &[0]), ("l", &[0])])));
        assert!(refused(BOOL_TRUE + 1, &[]), "bool out of range");
        assert!(refused(BOOL_TRUE, &[("k", &[1])]), "value of no memory");
        assert!(refused(BOOL_TRUE, &[("k", &[0, 0])]), "two values for one key");
        assert!(refused(BOOL_TRUE, &[("", &[0])]), "empty key");
        assert!(refused(BOOL_TRUE, &[("k", &[])]), "key without values");
        assert!(refused(BOOL_TRUE, &[("k", &[0]), ("k", &[0])]), "key twice");
    }
}

//! Distinct strings by number. The text of all of them lies in one buffer and nothing is allocated for a single one: a
//! daemon has many namespaces of a few hundred words.

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use crate::limits::MAX_STRING_BYTES;

/// Text of strings that went is left in the buffer until it is more than this, and more than one part in `SPARE_SHARE`.
const LEAST_GARBAGE: usize = 512;
/// Room for strings to come is one part in so many of what there is, where a `Vec` would double: there are many strings, of
/// large namespaces, and a daemon has a limit of memory.
const SPARE_SHARE: usize = 8;
const LENGTH_BITS: u32 = 24;
const _: () = assert!(MAX_STRING_BYTES < 1 << LENGTH_BITS);

/// Where a string begins, in the upper 40 bits, and how long it is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Span(u64);

/// No string has this number.
const FREE: Span = Span(u64::MAX);

impl Span {
    fn new(start: usize, len: usize) -> Self {
        Self((start as u64) << LENGTH_BITS | len as u64)
    }

    fn len(self) -> usize {
        (self.0 & ((1 << LENGTH_BITS) - 1)) as usize
    }

    fn of(self, bytes: &str) -> &str {
        let start = (self.0 >> LENGTH_BITS) as usize;
        &bytes[start..start + self.len()]
    }
}

/// Numbers from 0 up, used again after a removal.
#[derive(Default)]
pub struct StringTable {
    bytes: String,
    /// By number.
    spans: Vec<Span>,
    numbers: HashTable<u32>,
    free: Vec<u32>,
    /// Bytes of strings that went.
    garbage: usize,
}

/// For one more, with little to spare.
pub fn make_room<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / SPARE_SHARE).max(4));
    }
}

fn hash(string: &str) -> u64 {
    use std::hash::BuildHasher;
    FxBuildHasher.hash_one(string)
}

impl StringTable {
    /// Numbers from 0 to `len` - 1, none in use: for `place`.
    pub fn with_numbers(len: usize, bytes: usize) -> Self {
        Self {
            bytes: String::with_capacity(bytes),
            spans: vec![FREE; len],
            numbers: HashTable::with_capacity(len),
            ..Self::default()
        }
    }

    /// Strings there are.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Numbers given out so far, those free again among them.
    pub fn end(&self) -> usize {
        self.spans.len()
    }

    /// The number of a string.
    pub fn find(&self, string: &str) -> Option<u32> {
        self.numbers.find(hash(string), |&number| self.at(number) == string).copied()
    }

    /// The string of a number.
    pub fn get(&self, number: u32) -> Option<&str> {
        self.spans.get(number as usize).filter(|span| **span != FREE).map(|span| span.of(&self.bytes))
    }

    /// All there are, in the order of their numbers, None for a free one.
    pub fn iter(&self) -> impl Iterator<Item = Option<&str>> + Clone {
        self.spans.iter().map(|span| (*span != FREE).then(|| span.of(&self.bytes)))
    }

    /// Numbers free again, the one to be used next at the end.
    pub fn free(&self) -> &[u32] {
        &self.free
    }

    fn at(&self, number: u32) -> &str {
        self.spans[number as usize].of(&self.bytes)
    }

    /// A number for a string that is not there; at most `MAX_STRING_BYTES` long.
    pub fn insert(&mut self, string: &str) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            make_room(&mut self.spans);
            self.spans.push(FREE);
            self.spans.len() as u32 - 1
        });
        self.put(number, string);
        number
    }

    /// Give a string a number of `with_numbers`. False, and nothing done, when either is in use or out of bounds.
    pub fn place(&mut self, number: u32, string: &str) -> bool {
        let fits = self.spans.get(number as usize) == Some(&FREE) && string.len() <= MAX_STRING_BYTES;
        let new = fits && self.find(string).is_none();
        if new {
            self.put(number, string);
        }
        new
    }

    /// The numbers nobody has, the one to be used next at the end: once, after the last `place`. False when they are not.
    pub fn set_free(&mut self, free: Vec<u32>) -> bool {
        let mut taken: Vec<bool> = self.spans.iter().map(|span| *span != FREE).collect();
        let each_once = free.iter().all(|&number| match taken.get_mut(number as usize) {
            Some(taken) => !std::mem::replace(taken, true),
            None => false,
        });
        self.free = free;
        each_once && taken.into_iter().all(|taken| taken)
    }

    fn put(&mut self, number: u32, string: &str) {
        self.spans[number as usize] = Span::new(self.bytes.len(), string.len());
        let room = self.bytes.capacity() - self.bytes.len();
        if room < string.len() {
            self.bytes.reserve_exact(string.len().max(self.bytes.len() / SPARE_SHARE));
        }
        self.bytes.push_str(string);
        let (spans, bytes) = (&self.spans, &self.bytes);
        self.numbers.insert_unique(hash(string), number, |&other| hash(spans[other as usize].of(bytes)));
    }

    /// Give the number of a string in use back.
    pub fn remove(&mut self, number: u32) {
        let hash = hash(self.at(number));
        if let Ok(entry) = self.numbers.find_entry(hash, |&other| other == number) {
            entry.remove();
        }
        self.garbage += self.spans[number as usize].len();
        self.spans[number as usize] = FREE;
        self.free.push(number);
        if self.garbage > LEAST_GARBAGE.max(self.bytes.len() / SPARE_SHARE) {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let mut bytes = String::with_capacity(self.bytes.len() - self.garbage);
        for span in self.spans.iter_mut().filter(|span| **span != FREE) {
            let start = bytes.len();
            bytes.push_str(span.of(&self.bytes));
            *span = Span::new(start, span.len());
        }
        self.bytes = bytes;
        self.garbage = 0;
    }

    /// Keep no room for more.
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
        self.spans.shrink_to_fit();
        self.free.shrink_to_fit();
        let (spans, bytes) = (&self.spans, &self.bytes);
        self.numbers.shrink_to_fit(|&number| hash(spans[number as usize].of(bytes)));
    }

    /// Estimate of the heap it holds.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.spans.capacity() * size_of::<Span>()
            + self.numbers.allocation_size()
            + self.free.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_and_strings_stay_one_to_one(steps in vec(("[a-d]{0,3}|é{1,2}", any::<bool>()), 0..200)) {
            let mut table = StringTable::default();
            let mut model: BTreeMap<String, u32> = BTreeMap::new();
            for (string, add) in steps {
                match (add, model.get(&string).copied()) {
                    (true, None) => {
                        let number = table.insert(&string);
                        prop_assert!(!model.values().any(|&other| other == number));
                        model.insert(string, number);
                    }
                    (false, Some(number)) => {
                        table.remove(number);
                        prop_assert_eq!(table.get(number), None);
                        model.remove(&string);
                    }
                    _ => table.shrink_to_fit(),
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert_eq!(table.len() + table.free().len(), table.end());
                for (string, &number) in &model {
                    prop_assert_eq!(table.find(string), Some(number));
                    prop_assert_eq!(table.get(number), Some(&**string));
                }
            }
        }
    }

    #[test]
    fn text_of_strings_that_went_is_given_back() {
        let mut table = StringTable::default();
        let kept = table.insert("kept");
        for round in 0..10_000 {
            let number = table.insert(&format!("round {round}"));
            table.remove(number);
        }
        assert!(table.memory_bytes() < 8 * LEAST_GARBAGE, "{}", table.memory_bytes());
        assert_eq!((table.get(kept), table.end()), (Some("kept"), 2));
    }

    #[test]
    fn places_are_taken_once() {
        let mut table = StringTable::with_numbers(3, 2);
        assert!(table.place(2, "a") && table.place(0, "b"));
        assert!(!table.place(2, "c") && !table.place(3, "c") && !table.place(1, "a"));
        assert!(!table.place(1, &"x".repeat(MAX_STRING_BYTES + 1)));
        assert!(!table.set_free(vec![0]) && !table.set_free(vec![]) && !table.set_free(vec![1, 1]));
        assert!(!table.set_free(vec![1, 3]) && table.set_free(vec![1]));
        assert_eq!(table.insert("c"), 1);
    }
}

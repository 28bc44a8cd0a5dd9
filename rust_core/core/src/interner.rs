//! Strings as small numbers, with a count of their users so that churn does not grow the table for ever.

mod snapshot;

use crate::strings::StringTable;

/// Number of an interned string; 0 is never given out, so columns can use it for "absent".
pub type StringId = u32;
/// No string.
pub const ABSENT: StringId = 0;

/// A table of strings in use.
#[derive(Default)]
pub struct Interner {
    /// By id - 1.
    strings: StringTable,
    uses: Vec<u32>,
}

impl Interner {
    /// The number of a string, one more user counted.
    pub fn acquire(&mut self, string: &str) -> StringId {
        if let Some(at) = self.strings.find(string) {
            self.uses[at as usize] += 1;
            return at + 1;
        }
        let at = self.strings.insert(string);
        self.uses.resize(self.strings.end(), 0);
        self.uses[at as usize] = 1;
        at + 1
    }

    /// One user less; at none the number is free again. `ABSENT` is ignored. True when it was the last user.
    pub fn release(&mut self, id: StringId) -> bool {
        if id == ABSENT {
            return false;
        }
        let at = id as usize - 1;
        self.uses[at] -= 1;
        if self.uses[at] > 0 {
            return false;
        }
        self.strings.remove(id - 1);
        true
    }

    /// The number of a string in use.
    pub fn find(&self, string: &str) -> Option<StringId> {
        self.strings.find(string).map(|at| at + 1)
    }

    /// The string of a number in use.
    pub fn get(&self, id: StringId) -> Option<&str> {
        self.strings.get(id.checked_sub(1)?)
    }

    /// How many use a string in use.
    pub fn users_of(&self, id: StringId) -> usize {
        self.uses[id as usize - 1] as usize
    }

    /// How many use each string, by number - 1.
    pub fn users(&self) -> impl Iterator<Item = u32> {
        self.uses.iter().copied()
    }

    /// Strings in use.
    pub fn len(&self) -> usize {
        self.strings.len()
    }

    /// Strings in use with their numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (StringId, &str)> {
        (1..).zip(self.strings.iter()).filter_map(|(id, string)| Some((id, string?)))
    }

    /// Whether no string is in use.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.strings.len() == 0
    }

    /// Keep no room for more.
    pub fn shrink_to_fit(&mut self) {
        self.strings.shrink_to_fit();
        self.uses.shrink_to_fit();
    }

    /// Estimate of the heap it holds.
    pub fn memory_bytes(&self) -> usize {
        self.strings.memory_bytes() + self.uses.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_when_nobody_uses_the_string() {
        let mut interner = Interner::default();
        let a = interner.acquire("a");
        assert_eq!(interner.acquire("a"), a);
        assert!(!interner.release(a));
        assert_eq!(interner.find("a"), Some(a));
        assert!(interner.release(a));
        assert_eq!((interner.find("a"), interner.get(a), interner.get(ABSENT)), (None, None, None));
        assert_eq!(interner.acquire("b"), a);
        assert_eq!(interner.get(a), Some("b"));
    }
}

//! Strings as small numbers, with a count of their users so that churn does not grow the table for ever.

mod snapshot;

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Number of an interned string; 0 is never given out, so columns can use it for "absent".
pub type StringId = u32;
/// No string.
pub const ABSENT: StringId = 0;

/// A table of strings in use.
#[derive(Default)]
pub struct Interner {
    ids: FxHashMap<Arc<str>, StringId>,
    strings: Vec<Option<Arc<str>>>,
    uses: Vec<u32>,
    free: Vec<StringId>,
    bytes: usize,
}

impl Interner {
    /// The number of a string, one more user counted.
    pub fn acquire(&mut self, string: &str) -> StringId {
        if let Some(&id) = self.ids.get(string) {
            self.uses[id as usize - 1] += 1;
            return id;
        }
        let shared: Arc<str> = string.into();
        self.bytes += string.len();
        let id = self.free.pop().unwrap_or_else(|| {
            self.strings.push(None);
            self.uses.push(0);
            self.strings.len() as StringId
        });
        self.strings[id as usize - 1] = Some(shared.clone());
        self.uses[id as usize - 1] = 1;
        self.ids.insert(shared, id);
        id
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
        if let Some(string) = self.strings[at].take() {
            self.bytes -= string.len();
            self.ids.remove(&string);
        }
        self.free.push(id);
        true
    }

    /// The number of a string in use.
    pub fn find(&self, string: &str) -> Option<StringId> {
        self.ids.get(string).copied()
    }

    /// The string of a number in use.
    pub fn get(&self, id: StringId) -> Option<&str> {
        self.strings.get((id as usize).checked_sub(1)?)?.as_deref()
    }

    /// Whether no string is in use.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Estimate of the heap it holds.
    pub fn memory_bytes(&self) -> usize {
        // String header of an Arc: two counters.
        self.bytes
            + self.ids.len() * 16
            + self.ids.capacity() * 25
            + self.strings.capacity() * 16
            + self.uses.capacity() * 4
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

//! An interner in a snapshot: the strings in use, numbered anew without gaps. Who uses them is counted while that is read.

use super::{ABSENT, Interner, StringId};
use crate::snapshot::{Error, Reader, Writer, corrupt};
use crate::strings::StringTable;

impl Interner {
    /// Returns the new number of each old one (`ABSENT` stays); the order is kept.
    pub(crate) fn encode(&self, out: &mut Writer) -> Vec<StringId> {
        out.count(self.strings.len());
        out.strings(self.strings.iter().flatten());
        let mut last = ABSENT;
        let numbers = self.strings.iter().map(|string| {
            last += StringId::from(string.is_some());
            last
        });
        std::iter::once(ABSENT).chain(numbers).collect()
    }

    /// Without users as yet: each must be counted, then `all_used` asked.
    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, Error> {
        let count = reader.count(4)?;
        if StringId::try_from(count).is_err() {
            return corrupt("there are too many strings");
        }
        let all = reader.strings(count)?;
        let mut strings = StringTable::with_numbers(count, all.iter().map(|string| string.len()).sum());
        if !(0..).zip(all).all(|(at, string)| strings.place(at, string)) {
            return corrupt("a string stands twice or is too long");
        }
        Ok(Self { strings, uses: vec![0; count] })
    }

    /// Count a user of a number read from a file.
    pub(crate) fn reuse(&mut self, id: StringId) -> Result<(), Error> {
        let uses = (id as usize).checked_sub(1).and_then(|at| self.uses.get_mut(at));
        match uses.map(|uses| (uses.checked_add(1), uses)) {
            Some((Some(more), uses)) => {
                *uses = more;
                Ok(())
            }
            _ => corrupt("a string has no such number"),
        }
    }

    /// A string nobody uses would never be freed.
    pub(crate) fn all_used(&self) -> Result<(), Error> {
        if self.uses.contains(&0) { corrupt("a string is not used") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(strings: &[&str], used: &[StringId]) -> bool {
        let mut out = Writer::default();
        out.count(strings.len());
        out.strings(strings.iter().copied());
        let decoded = Interner::decode(&mut Reader::new(&out.into_bytes()));
        let users = |mut interner: Interner| {
            used.iter().try_for_each(|&id| interner.reuse(id))?;
            interner.all_used()
        };
        decoded.and_then(users).is_err()
    }

    #[test]
    fn strings_stand_once_and_are_used() {
        assert!(!refused(&["a", "b"], &[1, 2, 1]));
        assert!(refused(&["a", "a"], &[1, 2]), "string twice");
        assert!(refused(&["a", "b"], &[1]), "unused string");
        assert!(refused(&["a"], &[1, ABSENT]), "no number");
        assert!(refused(&["a"], &[1, 2]), "number out of range");
    }
}

//! Words in a snapshot: the terms, and for each memory which of them it has and how often. The inverted lists are made from
//! that: it takes a few tens of milliseconds for a million postings, and they cannot contradict the documents.

use super::{DocTerm, Document, LexicalIndex, Posting};
use crate::bitmap::Bitmap;
use crate::interner::{Interner, StringId};
use crate::snapshot::{Error, Reader, Writer, corrupt};
use crate::text::spelling::Spellings;

impl LexicalIndex {
    /// `live`: the slots in use; every one of them has a text, be it empty.
    pub(crate) fn encode(&self, out: &mut Writer, live: &Bitmap) {
        let numbers = self.terms.encode(out);
        let documents = || live.iter().filter_map(|slot| self.documents.get(slot as usize));
        let terms = || documents().flat_map(|document| &document.terms);
        out.reserve(documents().map(|document| 4 + 8 * document.terms.len()).sum());
        out.u32s(documents().map(|document| document.terms.len() as u32));
        out.u32s(terms().map(|entry| numbers[entry.term as usize]));
        out.u32s(terms().map(|entry| entry.count));
    }

    /// The opposite of `encode`.
    pub(crate) fn decode(mut reader: Reader, live: &Bitmap) -> Result<Self, Error> {
        let mut terms = Interner::decode(&mut reader)?;
        let lengths = reader.u32s(live.count())?;
        let total = usize::try_from(lengths.clone().map(u64::from).sum::<u64>()).unwrap_or(usize::MAX);
        let (mut numbers, mut counts) = (reader.u32s(total)?, reader.u32s(total)?);
        reader.finish()?;
        numbers.clone().try_for_each(|number| terms.reuse(number))?;
        terms.all_used()?;
        let mut made = Self {
            postings: terms.uses().iter().map(|&uses| Vec::with_capacity(uses as usize)).collect(),
            terms,
            documents: vec![Document::default(); live.len()],
            count: 0,
            total_length: 0,
            spellings: Spellings::default(),
            collection: None,
        };
        for term in 1..=made.postings.len() as StringId {
            made.spellings.add(term, made.terms.get(term).unwrap_or_default());
        }
        for (slot, length) in live.iter().zip(lengths) {
            made.read_document(slot, (&mut numbers).zip(&mut counts).take(length as usize))?;
        }
        Ok(made)
    }

    /// The numbers are known to be those of terms.
    fn read_document(&mut self, slot: u32, terms: impl Iterator<Item = (u32, u32)>) -> Result<(), Error> {
        let mut last = 0;
        let mut length = 0u32;
        let read = |(term, count): (u32, u32)| {
            let sum = length.checked_add(count);
            let (Some(sum), true) = (sum, term > last && count > 0) else {
                return corrupt("the terms of a text are not in order, or not counted");
            };
            (last, length) = (term, sum);
            let postings = &mut self.postings[term as usize - 1];
            postings.push(Posting { slot, count });
            Ok(DocTerm { term, count, position: postings.len() as u32 - 1 })
        };
        let terms = terms.map(read).collect::<Result<_, Error>>()?;
        self.documents[slot as usize] = Document { terms, length, present: true };
        self.count += 1;
        self.total_length += u64::from(length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(numbers: [u32; 2], counts: [u32; 2]) -> bool {
        let mut out = Writer::default();
        out.count(2);
        out.strings(["green", "tea"].into_iter());
        out.u32(2);
        out.u32s(numbers);
        out.u32s(counts);
        LexicalIndex::decode(Reader::new(&out.into_bytes()), &Bitmap::ones(1)).is_err()
    }

    #[test]
    fn terms_of_a_text_ascend_and_are_counted() {
        assert!(!refused([1, 2], [3, 1]));
        assert!(refused([1, 2], [3, 0]), "zero count");
        assert!(refused([1, 2], [u32::MAX, 1]), "longer than can be counted");
        assert!(refused([2, 1], [1, 1]), "not in order");
        assert!(refused([1, 1], [1, 1]), "term twice");
        assert!(refused([1, 3], [1, 1]), "term out of range");
    }
}

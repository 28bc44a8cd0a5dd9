//! BM25 over an inverted index that changes in place.
//!
//! `score(q, d) = sum over terms t of q: qtf(t) * idf(t) * tf / (tf + k1 * (1 - b + b * |d| / avg |d|))` with
//! `idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5))` (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and
//! Beyond", 2009, in the form Lucene uses: never negative, without the constant factor k1 + 1).

mod snapshot;

use std::cmp::Ordering;

use super::analyze::TermCounts;
use crate::bitmap::Bitmap;
use crate::index::keep_best;
use crate::interner::{Interner, StringId};

/// Measured on conversations (docs/adr/0007-ranking-defaults.md): turns are short, a repeated word says little.
pub const K1: f32 = 0.9;
/// As `K1`: length says little.
pub const B: f32 = 0.4;

#[derive(Clone, Copy, Debug)]
struct Posting {
    slot: u32,
    count: u32,
}

/// A term of a document and where its posting stands.
#[derive(Clone, Copy, Debug)]
struct DocTerm {
    term: StringId,
    count: u32,
    position: u32,
}

#[derive(Clone, Debug, Default)]
struct Document {
    /// Sorted by term.
    terms: Box<[DocTerm]>,
    length: u32,
    present: bool,
}

/// Words to memories.
#[derive(Default)]
pub struct LexicalIndex {
    terms: Interner,
    /// By term number - 1.
    postings: Vec<Vec<Posting>>,
    /// By slot.
    documents: Vec<Document>,
    count: usize,
    total_length: u64,
}

/// The terms of a query that occur in the index, with their weights at this moment.
pub struct QueryTerms {
    terms: Vec<(StringId, f32)>,
    /// `k1 * (1 - b)`.
    constant: f32,
    /// `k1 * b / average length`.
    per_word: f32,
}

impl QueryTerms {
    /// Whether no term of the query occurs anywhere.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    #[inline]
    fn part(&self, weight: f32, count: u32, length: u32) -> f32 {
        let count = count as f32;
        weight * count / (count + self.constant + self.per_word * length as f32)
    }
}

impl LexicalIndex {
    /// Set the text of a slot, replacing what it had.
    pub fn insert(&mut self, slot: u32, text: &TermCounts) {
        self.remove(slot);
        if self.documents.len() <= slot as usize {
            self.documents.resize(slot as usize + 1, Document::default());
        }
        let mut terms: Vec<DocTerm> = text.terms.iter().map(|(term, count)| self.post(slot, term, *count)).collect();
        terms.sort_unstable_by_key(|t| t.term);
        self.documents[slot as usize] = Document { terms: terms.into(), length: text.total, present: true };
        self.count += 1;
        self.total_length += u64::from(text.total);
    }

    fn post(&mut self, slot: u32, term: &str, count: u32) -> DocTerm {
        let term = self.terms.acquire(term);
        if self.postings.len() < term as usize {
            self.postings.push(Vec::new());
        }
        let postings = &mut self.postings[term as usize - 1];
        postings.push(Posting { slot, count });
        DocTerm { term, count, position: postings.len() as u32 - 1 }
    }

    /// Forget a slot; false when it had no text.
    pub fn remove(&mut self, slot: u32) -> bool {
        let Some(document) = self.documents.get_mut(slot as usize) else { return false };
        let document = std::mem::take(document);
        if !document.present {
            return false;
        }
        for entry in &document.terms {
            self.unpost(*entry);
        }
        self.count -= 1;
        self.total_length -= u64::from(document.length);
        true
    }

    fn unpost(&mut self, entry: DocTerm) {
        let postings = &mut self.postings[entry.term as usize - 1];
        postings.swap_remove(entry.position as usize);
        if let Some(moved) = postings.get(entry.position as usize) {
            let terms = &mut self.documents[moved.slot as usize].terms;
            let at = terms.binary_search_by_key(&entry.term, |t| t.term).expect("a posting has its document");
            terms[at].position = entry.position;
        }
        if self.terms.release(entry.term) {
            self.postings[entry.term as usize - 1] = Vec::new();
        }
    }

    /// Weigh the terms of a query against what the index holds now. Terms that occur nowhere are left out.
    pub fn resolve(&self, query: &TermCounts) -> QueryTerms {
        let average = (self.total_length as f32 / (self.count as f32).max(1.0)).max(f32::MIN_POSITIVE);
        let weight = |count: u32, term: StringId| {
            let (n, df) = (self.count as f32, self.postings[term as usize - 1].len() as f32);
            count as f32 * (1.0 + (n - df + 0.5) / (df + 0.5)).ln()
        };
        let known = query.terms.iter().filter_map(|(term, count)| Some((self.terms.find(term)?, *count)));
        QueryTerms {
            terms: known.map(|(term, count)| (term, weight(count, term))).collect(),
            constant: K1 * (1.0 - B),
            per_word: K1 * B / average,
        }
    }

    /// The `top_k` visible slots of largest score above 0, best first; equal scores in the order `tie` says.
    pub fn search(
        &self,
        query: &QueryTerms,
        top_k: usize,
        visible: &Bitmap,
        tie: &dyn Fn(u32, u32) -> Ordering,
    ) -> Vec<(u32, f32)> {
        if top_k == 0 || query.is_empty() {
            return Vec::new();
        }
        let mut scores = vec![0f32; self.documents.len()];
        let mut touched = Vec::new();
        for &(term, weight) in &query.terms {
            for posting in &self.postings[term as usize - 1] {
                if !visible.get(posting.slot) {
                    continue;
                }
                let score = &mut scores[posting.slot as usize];
                if *score == 0.0 {
                    touched.push(posting.slot);
                }
                *score += query.part(weight, posting.count, self.documents[posting.slot as usize].length);
            }
        }
        let mut scored: Vec<(u32, f32)> = touched.into_iter().map(|slot| (slot, scores[slot as usize])).collect();
        keep_best(&mut scored, top_k, tie);
        scored
    }

    /// The score of one slot, equal to the bit to what `search` gives it, and how many query terms it has.
    pub fn score(&self, slot: u32, query: &QueryTerms) -> (f32, u32) {
        let Some(document) = self.documents.get(slot as usize) else { return (0.0, 0) };
        let (mut score, mut matched) = (0.0, 0);
        for &(term, weight) in &query.terms {
            if let Ok(at) = document.terms.binary_search_by_key(&term, |t| t.term) {
                score += query.part(weight, document.terms[at].count, document.length);
                matched += 1;
            }
        }
        (score, matched)
    }

    /// Estimate of the heap it holds.
    pub fn memory_bytes(&self) -> usize {
        self.terms.memory_bytes()
            + self.postings.capacity() * size_of::<Vec<Posting>>()
            + self.postings.iter().map(|p| p.capacity() * size_of::<Posting>()).sum::<usize>()
            + self.documents.capacity() * size_of::<Document>()
            + self.documents.iter().map(|d| d.terms.len() * size_of::<DocTerm>()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn counts(words: &[u8]) -> TermCounts {
        let mut made = TermCounts { terms: Vec::new(), total: words.len() as u32 };
        for word in words {
            let term = format!("w{word}");
            match made.terms.iter_mut().find(|(known, _)| *known == term) {
                Some(entry) => entry.1 += 1,
                None => made.terms.push((term, 1)),
            }
        }
        made
    }

    /// The formula in double precision over plain lists of words.
    fn oracle(documents: &[(u32, Vec<u8>)], query: &[u8], slot: u32) -> f64 {
        let n = documents.len() as f64;
        let average = documents.iter().map(|(_, words)| words.len()).sum::<usize>() as f64 / n;
        let words = &documents.iter().find(|(at, _)| *at == slot).unwrap().1;
        let part = |term: &u8| {
            let tf = words.iter().filter(|w| *w == term).count() as f64;
            let df = documents.iter().filter(|(_, words)| words.contains(term)).count() as f64;
            let idf = (1.0 + (n - df + 0.5) / (df + 0.5)).ln();
            if tf == 0.0 { 0.0 } else { idf * tf / (tf + 0.9 * (0.6 + 0.4 * words.len() as f64 / average)) }
        };
        query.iter().map(part).sum()
    }

    proptest! {
        #[test]
        fn scores_are_bm25_after_any_changes(
            changes in vec((0u32..12, proptest::option::weighted(0.7, vec(0u8..8, 0..10))), 0..60),
            query in vec(0u8..10, 0..6),
            shown in vec(any::<bool>(), 12),
            k in 0usize..14,
        ) {
            let mut index = LexicalIndex::default();
            let mut model = std::collections::BTreeMap::new();
            for (slot, change) in changes {
                match change {
                    Some(words) => {
                        index.insert(slot, &counts(&words));
                        model.insert(slot, words);
                    }
                    None => prop_assert_eq!(index.remove(slot), model.remove(&slot).is_some()),
                }
            }
            let documents: Vec<_> = model.into_iter().collect();
            let terms = index.resolve(&counts(&query));
            let mut visible = Bitmap::zeros(12);
            shown.iter().enumerate().filter(|(_, shown)| **shown).for_each(|(at, _)| visible.set(at as u32));
            let mut expected = Vec::new();
            for (slot, words) in &documents {
                let (score, matched) = index.score(*slot, &terms);
                prop_assert!((f64::from(score) - oracle(&documents, &query, *slot)).abs() < 1e-4);
                let distinct: std::collections::BTreeSet<_> = query.iter().filter(|w| words.contains(w)).collect();
                prop_assert_eq!(matched as usize, distinct.len());
                if visible.get(*slot) && matched > 0 {
                    expected.push((*slot, score));
                }
            }
            expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            expected.truncate(k);
            prop_assert_eq!(index.search(&terms, k, &visible, &|a, b| a.cmp(&b)), expected);
        }
    }

    #[test]
    fn emptied_index_holds_no_terms() {
        let mut index = LexicalIndex::default();
        index.insert(3, &counts(&[1, 2, 2]));
        assert!(index.remove(3) && !index.remove(3) && !index.remove(99));
        assert!(index.resolve(&counts(&[1])).is_empty());
        assert_eq!((index.count, index.total_length), (0, 0));
    }
}

//! BM25 over an inverted index that changes in place.
//!
//! `score(q, d) = sum over terms t of q: qtf(t) * idf(t) * tf / (tf + k1 * (1 - b + b * |d| / avg |d|))` with
//! `idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5))` (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and
//! Beyond", 2009, in the form Lucene uses: never negative, without the constant factor k1 + 1).

mod names;
mod postings;
mod snapshot;

use std::cmp::Ordering;

use super::analyze::TermCounts;
use super::collection::Collection;
use super::pairs;
use super::spelling::Spellings;
use crate::bitmap::Bitmap;
use crate::index::keep_best;
use crate::interner::{Interner, StringId};
use postings::{Posting, Postings};

/// Measured on conversations (docs/adr/0007-ranking-defaults.md): turns are short, a repeated word says little.
pub const K1: f32 = 0.9;
/// As `K1`: length says little.
pub const B: f32 = 0.4;

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
    postings: Postings,
    /// By slot.
    documents: Vec<Document>,
    count: usize,
    total_length: u64,
    /// Of `terms`, rebuilt from them.
    spellings: Spellings,
    /// Set when the texts are a part of a larger collection, whose figures count.
    collection: Option<Collection>,
}

/// How the words of a query are weighed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WordOptions {
    /// What a term counts that stands for an unknown word it nearly is spelt like; 0 looks for none.
    pub spelling: f32,
    /// What a term counts that only says when, as a part of its weight.
    pub faint: f32,
}

/// The terms of a query that occur in the index, with their weights at this moment.
pub struct QueryTerms {
    terms: Vec<(StringId, f32)>,
    /// By term: whether it is a name or a number.
    names: Vec<bool>,
    /// Names of several words: those of them that occur, as places in `terms`, with their hashes; the first one first.
    full_names: Vec<Vec<(usize, u32)>>,
    /// A bit for each term's number modulo 64.
    filter: u64,
    /// Pairs of terms side by side in the query, by their hash, with the mean of both weights.
    pairs: Vec<(u32, f32)>,
    /// The weights of all terms of the query together, those that occur nowhere too.
    total_weight: f32,
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

    /// How many terms.
    pub fn len(&self) -> usize {
        self.terms.len()
    }

    /// The part of the query's weight that the terms of a memory have, 0..=1; `parts` as `LexicalIndex::parts` gives them.
    pub fn coverage(&self, parts: &[f32]) -> f32 {
        let had: f32 = self.terms.iter().zip(parts).filter(|(_, part)| **part > 0.0).map(|(term, _)| term.1).sum();
        if self.total_weight > 0.0 { had / self.total_weight } else { 0.0 }
    }

    /// The weights of the query's pairs that stand side by side in a text too. `pairs`: sorted hashes.
    pub fn phrases(&self, pairs: &[u32]) -> f32 {
        self.pairs.iter().filter(|(hash, _)| pairs.binary_search(hash).is_ok()).map(|(_, weight)| weight).sum()
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
        self.postings.keep_up(self.count, &mut self.documents, &self.terms);
    }

    fn post(&mut self, slot: u32, term: &str, count: u32) -> DocTerm {
        let term = self.terms.acquire(term);
        if self.terms.users_of(term) == 1 {
            self.spellings.add(term, &self.terms);
        }
        DocTerm { term, count, position: self.postings.push(term, Posting { slot, count }) }
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
        if let Some(moved) = self.postings.take(entry) {
            let terms = &mut self.documents[moved as usize].terms;
            let at = terms.binary_search_by_key(&entry.term, |t| t.term).expect("a posting has its document");
            terms[at].position = entry.position;
        }
        if self.terms.users_of(entry.term) == 1 {
            self.spellings.remove(entry.term, &self.terms);
        }
        self.terms.release(entry.term);
    }

    /// Weigh words as in a larger collection that the texts are a part of.
    pub fn set_collection(&mut self, collection: Collection) {
        self.collection = Some(collection);
    }

    /// Weigh the terms of a query against what the index (or its collection) holds now. Terms that occur nowhere are left out, or give way to
    /// those they are nearly spelt like.
    pub fn resolve(&self, query: &TermCounts, options: &WordOptions) -> QueryTerms {
        let (documents, total_length) = self.size();
        let average = (total_length as f32 / (documents as f32).max(1.0)).max(f32::MIN_POSITIVE);
        let mut terms = Vec::with_capacity(query.terms.len());
        let mut weights = Vec::with_capacity(query.terms.len());
        let (mut names, mut places) = (Vec::with_capacity(query.terms.len()), Vec::with_capacity(query.terms.len()));
        for (at, (term, count)) in query.terms.iter().enumerate() {
            let says = |list: &[bool]| list.get(at).copied().unwrap_or(false);
            let factor = *count as f32 * if says(&query.faint) { options.faint } else { 1.0 };
            places.push(terms.len());
            weights.push(self.weigh(term, factor, options.spelling, &mut terms));
            names.resize(terms.len(), says(&query.names));
        }
        places.push(terms.len());
        let pair = |pair: &[u32]| {
            let (a, b) = (pair[0] as usize, pair[1] as usize);
            (pairs::hash(&query.terms[a].0, &query.terms[b].0), (weights[a] + weights[b]) / 2.0)
        };
        let mut pairs: Vec<(u32, f32)> = query.order.windows(2).map(pair).collect();
        pairs.sort_unstable_by_key(|pair| pair.0);
        pairs.dedup_by_key(|pair| pair.0);
        QueryTerms {
            total_weight: weights.iter().sum(),
            filter: terms.iter().fold(0, |filter, (term, _)| filter | 1 << (term % 64)),
            full_names: names::full_names(query, &places),
            terms,
            names,
            pairs,
            constant: K1 * (1.0 - B),
            per_word: K1 * B / average,
        }
    }

    /// Put a term of the query, or what stands for it, into `terms`; its weight, also when nothing does.
    fn weigh(&self, term: &str, factor: f32, spelling: f32, terms: &mut Vec<(StringId, f32)>) -> f32 {
        if factor <= 0.0 {
            return 0.0; // what counts nothing finds nothing
        }
        let weight = factor * self.idf(term);
        if let Some(id) = self.terms.find(term) {
            terms.push((id, weight));
            return weight;
        }
        let elsewhere = self.collection.as_ref().is_some_and(|collection| collection.frequency(term) > 0);
        let near = if spelling > 0.0 && !elsewhere { self.spellings.near(term, &self.terms) } else { Vec::new() };
        let weigh = |id: StringId| (id, factor * spelling * self.idf(self.terms.get(id).unwrap_or_default()));
        let first = terms.len();
        terms.extend(near.into_iter().map(weigh));
        terms[first..].iter().map(|t| t.1).max_by(f32::total_cmp).unwrap_or(weight)
    }

    /// Documents, and their terms with repeats.
    fn size(&self) -> (u64, u64) {
        let own = (self.count as u64, self.total_length);
        self.collection.as_ref().map_or(own, |collection| (collection.documents, collection.total_length))
    }

    fn idf(&self, term: &str) -> f32 {
        let own = || self.terms.find(term).map_or(0, |id| self.terms.users_of(id) as u64);
        let frequency = self.collection.as_ref().map_or_else(own, |collection| collection.frequency(term).max(own()));
        let (n, df) = (self.size().0.max(frequency) as f32, frequency as f32);
        (1.0 + (n - df + 0.5) / (df + 0.5)).ln()
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
        let mut scored =
            if self.postings.are_kept() { self.look_up(query, visible) } else { self.scan(query, visible) };
        keep_best(&mut scored, top_k, tie);
        scored
    }

    /// The visible slots that have a term of the query, by the inverted lists.
    fn look_up(&self, query: &QueryTerms, visible: &Bitmap) -> Vec<(u32, f32)> {
        let mut scores = vec![0f32; self.documents.len()];
        let mut touched = Vec::new();
        for &(term, weight) in &query.terms {
            for posting in self.postings.of(term).unwrap_or_default() {
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
        touched.into_iter().map(|slot| (slot, scores[slot as usize])).collect()
    }

    /// The same by looking at every document.
    fn scan(&self, query: &QueryTerms, visible: &Bitmap) -> Vec<(u32, f32)> {
        let shown = (0..self.documents.len() as u32).filter(|&slot| visible.get(slot));
        let scored = shown.map(|slot| (slot, self.score(slot, query)));
        scored.filter(|(_, (_, matched))| *matched > 0).map(|(slot, (score, _))| (slot, score)).collect()
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

    /// What each term of the query adds to the score of a slot, in the order of `query`; `parts` is zero before. False when
    /// it has none of them.
    pub fn parts(&self, slot: u32, query: &QueryTerms, parts: &mut [f32]) -> bool {
        let Some(document) = self.documents.get(slot as usize) else { return false };
        let mut any = false;
        for entry in &document.terms {
            // Most terms of most documents are not in the query: one bit tells.
            if query.filter & (1 << (entry.term % 64)) == 0 {
                continue;
            }
            for (part, &(term, weight)) in parts.iter_mut().zip(&query.terms) {
                if term == entry.term {
                    *part = query.part(weight, entry.count, document.length);
                    any = true;
                }
            }
        }
        any
    }

    /// Words of a slot, repeats counted.
    pub fn length(&self, slot: u32) -> u32 {
        self.documents.get(slot as usize).map_or(0, |document| document.length)
    }

    /// Of the distinct terms two slots have together, the part they share (Jaccard); 0 when it is no more than a half,
    /// which is told long before the end.
    pub fn likeness(&self, a: u32, b: u32) -> f32 {
        let (Some(a), Some(b)) = (self.documents.get(a as usize), self.documents.get(b as usize)) else { return 0.0 };
        let (mut i, mut j, mut shared) = (0, 0, 0usize);
        while let (Some(x), Some(y)) = (a.terms.get(i), b.terms.get(j)) {
            shared += usize::from(x.term == y.term);
            i += usize::from(x.term <= y.term);
            j += usize::from(y.term <= x.term);
            let most = shared + (a.terms.len() - i).min(b.terms.len() - j);
            if 3 * most <= a.terms.len() + b.terms.len() {
                return 0.0;
            }
        }
        let all = a.terms.len() + b.terms.len() - shared;
        if all == 0 { 0.0 } else { shared as f32 / all as f32 }
    }

    /// Keep no room for more, where that matters: in a small index.
    pub fn shrink_to_fit(&mut self) {
        self.terms.shrink_to_fit();
        self.documents.shrink_to_fit();
    }

    /// Estimate of the heap it holds.
    pub fn memory_bytes(&self) -> usize {
        self.terms.memory_bytes()
            + self.spellings.memory_bytes()
            + self.postings.memory_bytes()
            + self.documents.capacity() * size_of::<Document>()
            + self.documents.iter().map(|d| d.terms.len() * size_of::<DocTerm>()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use rustc_hash::FxHashMap;

    use super::*;
    use crate::text::{adjacent, analyze};

    fn counts(words: &[u8]) -> TermCounts {
        let mut made = TermCounts { total: words.len() as u32, ..TermCounts::default() };
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

    const PLAIN: WordOptions = WordOptions { spelling: 0.0, faint: 1.0 };
    const FORGIVING: WordOptions = WordOptions { spelling: 0.5, faint: 1.0 };

    proptest! {
        #[test]
        fn scores_are_bm25_after_any_changes(
            changes in vec((0u32..12, proptest::option::weighted(0.7, vec(0u8..8, 0..10))), 0..60),
            query in vec(0u8..10, 0..6),
            shown in vec(any::<bool>(), 12),
            k in 0usize..14,
            listed_from in 0usize..90,
        ) {
            let mut index = LexicalIndex::default();
            let mut model = std::collections::BTreeMap::new();
            for (changed, (slot, change)) in changes.into_iter().enumerate() {
                if changed == listed_from {
                    index.postings.make(&mut index.documents, &index.terms);
                }
                match change {
                    Some(words) => {
                        index.insert(slot, &counts(&words));
                        model.insert(slot, words);
                    }
                    None => prop_assert_eq!(index.remove(slot), model.remove(&slot).is_some()),
                }
            }
            let documents: Vec<_> = model.into_iter().collect();
            let terms = index.resolve(&counts(&query), &PLAIN);
            let mut visible = Bitmap::zeros(12);
            shown.iter().enumerate().filter(|(_, shown)| **shown).for_each(|(at, _)| visible.set(at as u32));
            let mut expected = Vec::new();
            for (slot, words) in &documents {
                let (score, matched) = index.score(*slot, &terms);
                prop_assert!((f64::from(score) - oracle(&documents, &query, *slot)).abs() < 1e-4);
                let distinct: std::collections::BTreeSet<_> = query.iter().filter(|w| words.contains(w)).collect();
                prop_assert_eq!(matched as usize, distinct.len());
                let mut parts = vec![0.0; terms.len()];
                prop_assert_eq!(index.parts(*slot, &terms, &mut parts), matched > 0);
                prop_assert!((parts.iter().sum::<f32>() - score).abs() < 1e-4);
                prop_assert_eq!(terms.coverage(&parts) > 0.0, matched > 0);
                prop_assert!(terms.coverage(&parts) <= 1.0001);
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
    fn a_part_of_a_collection_weighs_words_as_the_whole() {
        let texts = ["Ada plays the guitar", "Bob plays chess", "Eve plays the violin in Lyon", "Bob sings"];
        let (mut whole, mut part) = (LexicalIndex::default(), LexicalIndex::default());
        for (slot, text) in texts.iter().enumerate() {
            whole.insert(slot as u32, &analyze(text));
        }
        part.insert(0, &analyze(texts[0]));
        part.insert(1, &analyze(texts[1]));
        let mut frequencies = FxHashMap::default();
        for term in texts.iter().flat_map(|text| analyze(text).terms) {
            *frequencies.entry(term.0).or_insert(0) += 1;
        }
        part.set_collection(Collection { documents: 4, total_length: whole.total_length, frequencies });
        for query in ["who plays chess", "Bob in Lyon", "guitr", "an unheard word"] {
            let [in_whole, in_part] = [&whole, &part].map(|index| index.resolve(&analyze(query), &FORGIVING));
            assert_eq!([0, 1].map(|slot| part.score(slot, &in_part)), [0, 1].map(|slot| whole.score(slot, &in_whole)));
            assert_eq!(in_part.total_weight, in_whole.total_weight);
        }
    }

    #[test]
    fn an_unknown_word_gives_way_to_its_nearest_spelling_and_names_count_more() {
        let mut index = LexicalIndex::default();
        index.insert(0, &analyze("Ada plays the guitar in Lyon"));
        index.insert(1, &analyze("Bob plays chess"));
        let score = |query: &str, options: &WordOptions| index.score(0, &index.resolve(&analyze(query), options));
        assert_eq!(score("guitrs", &PLAIN), (0.0, 0));
        let exact = score("guitar", &PLAIN);
        assert_eq!(score("guitra", &FORGIVING), (exact.0 * 0.5, 1));
        let by_name = |query: &str, more: f32| {
            let terms = index.resolve(&analyze(query), &PLAIN);
            let mut parts = vec![0.0; terms.len()];
            index.parts(0, &terms, &mut parts);
            terms.by_name(&parts, &[], more, 0.0)
        };
        assert!((by_name("is it Lyon", 0.5) - score("is it lyon", &PLAIN).0 * 0.5).abs() < 1e-6);
        assert_eq!((by_name("is it lyon", 0.5), by_name("is it Lyon", 0.0)), (0.0, 0.0));
        let phrase = index.resolve(&analyze("who plays guitar"), &PLAIN);
        assert!(phrase.phrases(&adjacent(&analyze("she plays the guitar"))) > 0.0);
        assert_eq!(phrase.phrases(&adjacent(&analyze("guitar plays"))), 0.0);
    }

    #[test]
    fn likeness_is_the_share_of_common_terms() {
        let mut index = LexicalIndex::default();
        index.insert(0, &counts(&[1, 2, 3]));
        index.insert(1, &counts(&[2, 3, 3, 4]));
        index.insert(2, &counts(&[]));
        index.insert(3, &counts(&[1, 2, 3, 4]));
        assert_eq!((index.likeness(0, 1), index.likeness(0, 0), index.likeness(2, 2)), (0.0, 1.0, 0.0));
        assert_eq!((index.likeness(0, 3), index.likeness(3, 1)), (0.75, 0.75));
        assert_eq!((index.likeness(0, 9), index.length(1), index.length(9)), (0.0, 4, 0));
    }

    #[test]
    fn emptied_index_holds_no_terms() {
        let mut index = LexicalIndex::default();
        index.insert(3, &counts(&[1, 2, 2]));
        assert!(index.remove(3) && !index.remove(3) && !index.remove(99));
        assert!(index.resolve(&counts(&[1]), &PLAIN).is_empty());
        assert_eq!((index.count, index.total_length), (0, 0));
    }
}

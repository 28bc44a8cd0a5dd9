//! One query: filter, the best of each side, both scores for all of them, ranking.
//!
//! In two halves, since the vector of a query takes longer to make than all the rest: `prepare` does what needs no vector
//! while it is being made, `finish` the rest.

use std::cmp::Ordering;
use std::sync::atomic::Ordering::Relaxed;

use super::candidates::{Parts, Query};
use super::{NamespaceIndex, State};
use crate::bitmap::Bitmap;
use crate::error::Error;
use crate::filter::{Filter, parse_filter};
use crate::index::{PreparedQuery, SearchOptions, VectorIndex, decode_vectors};
use crate::rank::{Between, Ranked, RankingOptions, rank};

/// A memory found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Its id.
    pub memory_id: String,
    /// Its version in the index.
    pub version: i64,
    /// Scores and parts.
    pub ranked: Ranked,
}

/// What a query found.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchResult {
    /// Best first.
    pub hits: Vec<Hit>,
    /// See `rank`.
    pub nothing_relevant: bool,
    /// Memories that passed the filter.
    pub visible: usize,
}

/// What a query may see: filters (JSON); None lets everything pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sight<'a> {
    /// What is found.
    pub filter: Option<&'a [u8]>,
    /// Which other versions of what is found, superseded or yet to come, may lend it their evidence; None: none.
    pub versions: Option<&'a [u8]>,
}

impl NamespaceIndex {
    /// Find the memories closest to a query in meaning (`embedding`: one vector, or None) and words. `filter` is JSON.
    pub fn search(
        &self,
        query: &str,
        embedding: Option<&[u8]>,
        filter: Option<&[u8]>,
        options: &RankingOptions,
    ) -> Result<SearchResult, Error> {
        let sight = Sight { filter, ..Sight::default() };
        self.search_with(query, embedding, sight, options, &SearchOptions::default())
    }

    /// The same with versions, and how thoroughly to look for vectors.
    pub fn search_with(
        &self,
        query: &str,
        embedding: Option<&[u8]>,
        sight: Sight<'_>,
        options: &RankingOptions,
        thoroughly: &SearchOptions,
    ) -> Result<SearchResult, Error> {
        let prepared = self.prepare(query, sight, options, thoroughly)?;
        self.finish(&prepared, embedding)
    }

    /// The half of a search that needs no vector: the filter, and the best by words.
    pub fn prepare(
        &self,
        query: &str,
        sight: Sight<'_>,
        options: &RankingOptions,
        thoroughly: &SearchOptions,
    ) -> Result<PreparedSearch, Error> {
        options.check()?;
        thoroughly.check()?;
        let [filter, versions] = [sight.filter, sight.versions].map(|json| json.map(parse_filter).transpose());
        let (filter, versions) = (filter?, versions?);
        let state = self.read()?;
        let words = state.words_half(query, filter.as_ref(), options);
        state.vectors.warm(&mut words.found.iter().map(|&(slot, _)| slot));
        let changes = self.changes.load(Relaxed);
        let (options, thoroughly) = (*options, *thoroughly);
        Ok(PreparedSearch { text: query.into(), filter, versions, options, thoroughly, words, changes })
    }

    /// The other half. What has changed in between is seen: then the first half is done again.
    pub fn finish(&self, prepared: &PreparedSearch, embedding: Option<&[u8]>) -> Result<SearchResult, Error> {
        let embedding = embedding.map(|bytes| one_vector(self.dimensions, bytes)).transpose()?;
        let PreparedSearch { text, filter, versions, options, thoroughly, words, changes } = prepared;
        let state = self.read()?;
        if *changes == self.changes.load(Relaxed) {
            return Ok(state.finish(words, embedding.as_ref(), versions.as_ref(), options, thoroughly));
        }
        let words = state.words_half(text, filter.as_ref(), options);
        Ok(state.finish(&words, embedding.as_ref(), versions.as_ref(), options, thoroughly))
    }
}

/// A search that waits for its vector; of the index that made it.
pub struct PreparedSearch {
    text: Box<str>,
    filter: Option<Filter>,
    versions: Option<Filter>,
    options: RankingOptions,
    thoroughly: SearchOptions,
    words: WordsHalf,
    /// Those the index had seen by then.
    changes: u64,
}

/// What a search knows without its vector.
struct WordsHalf {
    query: Query,
    visible: Bitmap,
    /// Best first.
    found: Vec<(u32, f32)>,
    /// Of what was found and what stands beside it.
    parts: Parts,
}

fn one_vector(dimensions: usize, bytes: &[u8]) -> Result<PreparedQuery, Error> {
    match &decode_vectors(dimensions, bytes)?[..] {
        [one] => Ok(PreparedQuery::new(one)),
        _ => Err(Error::VectorSize { dimensions, bytes: bytes.len() }),
    }
}

impl State {
    fn words_half(&self, text: &str, filter: Option<&Filter>, options: &RankingOptions) -> WordsHalf {
        let visible = self.visible(filter);
        let query = self.query(text, options);
        let found = self.words.search(&query.terms, options.candidates, &visible, &|a, b| self.by_id(a, b));
        let parts = self.parts(&query.terms, &found, &visible);
        WordsHalf { query, visible, found, parts }
    }

    fn finish(
        &self,
        words: &WordsHalf,
        embedding: Option<&PreparedQuery>,
        versions: Option<&Filter>,
        options: &RankingOptions,
        thoroughly: &SearchOptions,
    ) -> SearchResult {
        let WordsHalf { query, visible, found, parts } = words;
        let tie = |a: u32, b: u32| self.by_id(a, b);
        let by_vector =
            embedding.map_or(Vec::new(), |q| self.vectors.search(q, options.candidates, visible, thoroughly, &tie));
        let found: [&[_]; 2] = [found, &by_vector];
        let mut candidates = self.candidates(query, embedding, parts.clone(), found, visible, options);
        let lends = options.cues.versions > 0.0 && candidates.iter().any(|c| self.has_versions(c.slot));
        if let Some(filter) = versions.filter(|_| lends) {
            let lenders = self.visible(Some(filter));
            self.lend_versions(&mut candidates, query, embedding, [visible, &lenders], options);
        }
        let likeness = |a: u32, b: u32| self.words.likeness(a, b);
        let (ranked, nothing_relevant) = rank(candidates, options, &Between { tie: &tie, likeness: &likeness });
        let hits = ranked.into_iter().filter_map(|ranked| self.hit(ranked)).collect();
        SearchResult { hits, nothing_relevant, visible: visible.count() }
    }

    fn hit(&self, ranked: Ranked) -> Option<Hit> {
        let entry = self.ids.get(ranked.candidate.slot)?;
        Some(Hit { memory_id: entry.id.to_string(), version: entry.version, ranked })
    }

    /// Equal scores go by id, so that the answer does not depend on the order of insertion.
    fn by_id(&self, a: u32, b: u32) -> Ordering {
        let id = |slot| self.ids.get(slot).map(|entry| entry.id);
        id(a).cmp(&id(b))
    }
}

//! One query: filter, the best of each side, both scores for all of them, ranking.

use std::cmp::Ordering;

use super::{NamespaceIndex, State};
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
        options.check()?;
        thoroughly.check()?;
        let embedding = embedding.map(|bytes| one_vector(self.dimensions, bytes)).transpose()?;
        let [filter, versions] = [sight.filter, sight.versions].map(|json| json.map(parse_filter).transpose());
        let sight = [filter?, versions?];
        Ok(self.read()?.search(query, embedding.as_ref(), sight.each_ref().map(Option::as_ref), options, thoroughly))
    }
}

fn one_vector(dimensions: usize, bytes: &[u8]) -> Result<PreparedQuery, Error> {
    match &decode_vectors(dimensions, bytes)?[..] {
        [one] => Ok(PreparedQuery::new(one)),
        _ => Err(Error::VectorSize { dimensions, bytes: bytes.len() }),
    }
}

impl State {
    fn search(
        &self,
        query: &str,
        embedding: Option<&PreparedQuery>,
        [filter, versions]: [Option<&Filter>; 2],
        options: &RankingOptions,
        thoroughly: &SearchOptions,
    ) -> SearchResult {
        let visible = self.visible(filter);
        let tie = |a: u32, b: u32| self.by_id(a, b);
        let query = self.query(query, embedding, options);
        let by_words = self.words.search(&query.terms, options.candidates, &visible, &tie);
        let by_vector =
            embedding.map_or(Vec::new(), |q| self.vectors.search(q, options.candidates, &visible, thoroughly, &tie));
        let mut candidates = self.candidates(&query, [&by_words, &by_vector], &visible, options);
        let lends = options.cues.versions > 0.0 && candidates.iter().any(|c| self.has_versions(c.slot));
        if let Some(filter) = versions.filter(|_| lends) {
            let lenders = self.visible(Some(filter));
            self.lend_versions(&mut candidates, &query, [&visible, &lenders], options);
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
        let id = |slot| self.ids.get(slot).map(|entry| &entry.id);
        id(a).cmp(&id(b))
    }
}

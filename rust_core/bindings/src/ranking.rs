//! Options of a search and what it found.

use std::collections::HashMap;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use memd_core::index::SearchOptions;

use crate::{map_error, size};

#[pyclass(frozen, module = "memd._core")]
pub struct RankingOptions {
    pub ranking: memd_core::rank::RankingOptions,
    pub thoroughly: SearchOptions,
}

#[pymethods]
impl RankingOptions {
    #[new]
    #[pyo3(signature = (
        *,
        limit = 5,
        candidates = 50,
        vector_weight = 0.5,
        trim_ratio = 0.35,
        noise_cosine = 0.2,
        nothing_cosine = None,
        nothing_coverage = None,
        min_relevance = None,
        ef = None,
        exact = false,
        cues = None,
        now_us = None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords")]
    fn new(
        limit: i64,
        candidates: i64,
        vector_weight: f32,
        trim_ratio: f32,
        noise_cosine: f32,
        nothing_cosine: Option<f32>,
        nothing_coverage: Option<f32>,
        min_relevance: Option<f32>,
        ef: Option<i64>,
        exact: bool,
        cues: Option<HashMap<String, f32>>,
        now_us: Option<i64>,
    ) -> PyResult<Self> {
        let mut weights = memd_core::rank::Cues::default();
        for (name, weight) in cues.unwrap_or_default() {
            let known = weights.weight_mut(&name).ok_or_else(|| PyValueError::new_err("unknown cue"))?;
            *known = weight;
        }
        let defaults = memd_core::rank::RankingOptions::default();
        let ranking = memd_core::rank::RankingOptions {
            limit: size("limit", limit)?,
            candidates: size("candidates", candidates)?,
            vector_weight,
            trim_ratio,
            noise_cosine,
            nothing_cosine: nothing_cosine.unwrap_or(defaults.nothing_cosine),
            nothing_coverage: nothing_coverage.unwrap_or(defaults.nothing_coverage),
            min_relevance,
            cues: weights,
            now_us,
        };
        ranking.check().map_err(map_error)?;
        let thoroughly = SearchOptions { ef: ef.map(|ef| size("ef", ef)).transpose()?, exact };
        thoroughly.check().map_err(map_error)?;
        Ok(Self { ranking, thoroughly })
    }
}

#[pyclass(frozen, module = "memd._core")]
pub struct Hit {
    #[pyo3(get)]
    memory_id: String,
    #[pyo3(get)]
    version: i64,
    #[pyo3(get)]
    score: f32,
    #[pyo3(get)]
    relevance: f32,
    #[pyo3(get)]
    bm25: f32,
    #[pyo3(get)]
    vector_part: f32,
    #[pyo3(get)]
    word_part: f32,
    #[pyo3(get)]
    matched_terms: u32,
    cues: memd_core::rank::CueParts,
}

#[pymethods]
impl Hit {
    /// Made only when asked for: most searches do not explain.
    fn cues(&self) -> HashMap<&'static str, f32> {
        self.cues.named().into_iter().collect()
    }
}

impl From<memd_core::namespace_index::Hit> for Hit {
    fn from(hit: memd_core::namespace_index::Hit) -> Self {
        let (ranked, candidate) = (hit.ranked, hit.ranked.candidate);
        Self {
            memory_id: hit.memory_id,
            version: hit.version,
            score: ranked.score,
            relevance: candidate.cosine.unwrap_or(0.0),
            bm25: candidate.bm25,
            vector_part: ranked.vector_part,
            word_part: ranked.word_part,
            matched_terms: candidate.matched_terms,
            cues: ranked.cues,
        }
    }
}

#[pyclass(frozen, get_all, module = "memd._core")]
pub struct SearchResult {
    pub hits: Vec<Py<Hit>>,
    pub nothing_relevant: bool,
    pub visible: usize,
}

/// What `nothing_cosine` and `nothing_coverage` are when they are not given.
#[pyfunction]
pub fn default_nothing() -> (f32, f32) {
    let defaults = memd_core::rank::RankingOptions::default();
    (defaults.nothing_cosine, defaults.nothing_coverage)
}

/// The weights of the cues by name, as `RankingOptions` has them when none is given.
#[pyfunction]
pub fn default_cues() -> HashMap<&'static str, f32> {
    memd_core::rank::Cues::default().named().into_iter().collect()
}

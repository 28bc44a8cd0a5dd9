//! Options of a search and what it found.

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
        nothing_cosine = 0.3,
        min_relevance = None,
        ef = None,
        exact = false,
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords")]
    fn new(
        limit: i64,
        candidates: i64,
        vector_weight: f32,
        trim_ratio: f32,
        noise_cosine: f32,
        nothing_cosine: f32,
        min_relevance: Option<f32>,
        ef: Option<i64>,
        exact: bool,
    ) -> PyResult<Self> {
        let ranking = memd_core::rank::RankingOptions {
            limit: size("limit", limit)?,
            candidates: size("candidates", candidates)?,
            vector_weight,
            trim_ratio,
            noise_cosine,
            nothing_cosine,
            min_relevance,
        };
        ranking.check().map_err(map_error)?;
        let thoroughly = SearchOptions { ef: ef.map(|ef| size("ef", ef)).transpose()?, exact };
        thoroughly.check().map_err(map_error)?;
        Ok(Self { ranking, thoroughly })
    }
}

#[pyclass(frozen, get_all, module = "memd._core")]
pub struct Hit {
    memory_id: String,
    version: i64,
    score: f32,
    relevance: f32,
    bm25: f32,
    vector_part: f32,
    word_part: f32,
    matched_terms: u32,
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
        }
    }
}

#[pyclass(frozen, get_all, module = "memd._core")]
pub struct SearchResult {
    pub hits: Vec<Py<Hit>>,
    pub nothing_relevant: bool,
    pub visible: usize,
}

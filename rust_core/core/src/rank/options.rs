//! How candidates become hits. The defaults are the measured ones.

use super::cues::Cues;
use crate::error::Error;

/// See the fields; `check` gives the bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankingOptions {
    /// Hits at most.
    pub limit: usize,
    /// Candidates from each side, vectors and words.
    pub candidates: usize,
    /// Weight of the vector side, 0..=1; the words have the rest.
    pub vector_weight: f32,
    /// Drop what scores below this part of the best, 0..=1.
    pub trim_ratio: f32,
    /// Drop what has a smaller cosine and no word of the query, -1..=1.
    pub noise_cosine: f32,
    /// Nothing is relevant when even the best cosine, helped by `nothing_coverage`, is smaller, -1..=1.
    pub nothing_cosine: f32,
    /// What is added to the best cosine when a memory has every word of the query, 0..=1.
    pub nothing_coverage: f32,
    /// Drop what has a smaller cosine, -1..=1; None drops nothing.
    pub min_relevance: Option<f32>,
    /// Cues beside meaning and words.
    pub cues: Cues,
    /// The time of the question, microseconds since the epoch: "last week" counts from it. None: such words say nothing.
    pub now_us: Option<i64>,
}

impl Default for RankingOptions {
    fn default() -> Self {
        Self {
            limit: 5,
            candidates: 50,
            vector_weight: 0.5,
            trim_ratio: 0.35,
            noise_cosine: 0.2,
            nothing_cosine: 0.42,
            nothing_coverage: 0.3,
            min_relevance: None,
            cues: Cues::default(),
            now_us: None,
        }
    }
}

impl RankingOptions {
    /// Refuse what is out of bounds; NaN is.
    pub fn check(&self) -> Result<(), Error> {
        part("vector_weight", self.vector_weight)?;
        part("trim_ratio", self.trim_ratio)?;
        cosine("noise_cosine", self.noise_cosine)?;
        cosine("nothing_cosine", self.nothing_cosine)?;
        part("nothing_coverage", self.nothing_coverage)?;
        self.cues.check()?;
        self.min_relevance.map_or(Ok(()), |least| cosine("min_relevance", least))
    }
}

/// A weight or share.
pub(super) fn part(what: &'static str, value: f32) -> Result<(), Error> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(Error::OutOfRange { what, bounds: "between 0 and 1" }) }
}

fn cosine(what: &'static str, value: f32) -> Result<(), Error> {
    if (-1.0..=1.0).contains(&value) { Ok(()) } else { Err(Error::OutOfRange { what, bounds: "between -1 and 1" }) }
}

//! The whole ranking: fuse, add the cues, order, spread, drop and cut.

use std::cmp::Ordering;

use super::beside::lend;
use super::candidate::{Candidate, Ranked};
use super::cues::Cues;
use super::diversity::spread;
use super::fuse::fuse;
use super::memory::judge;
use super::options::RankingOptions;

/// What the ranking asks about two slots.
pub struct Between<'a> {
    /// Which comes first when all scores are equal.
    pub tie: &'a dyn Fn(u32, u32) -> Ordering,
    /// How alike their words are, 0..=1.
    pub likeness: &'a dyn Fn(u32, u32) -> f32,
}

/// Best first; equal ones by cosine, then BM25, then as `tie` says. The flag says that nothing is relevant: nothing is
/// left, or every hit was compared by cosine and even the best evidence is too weak (`nothing`).
pub fn rank(candidates: Vec<Candidate>, options: &RankingOptions, between: &Between<'_>) -> (Vec<Ranked>, bool) {
    let weak = too_weak(&candidates, options);
    let mut ranked = fuse(candidates, options.vector_weight);
    lend(&mut ranked, &options.cues);
    judge(&mut ranked, &options.cues);
    let scale = 1.0 / highest(&options.cues);
    ranked.iter_mut().for_each(|hit| sum(hit, scale));
    ranked.retain(|hit| keep(&hit.candidate, options));
    ranked.sort_unstable_by(|a, b| order(a, b, between.tie));
    let bar = ranked.first().map_or(0.0, |best| best.score * options.trim_ratio);
    ranked.retain(|hit| hit.score >= bar);
    // After the trim: a copy gives way to others, but is not left out when there are none.
    spread(&mut ranked, options.limit, options.cues.diversity, between.likeness);
    ranked.truncate(options.limit);
    let all_compared = ranked.iter().all(|hit| hit.candidate.cosine.is_some());
    let nothing = ranked.is_empty() || all_compared && weak;
    (ranked, nothing)
}

/// The best cosine, helped by how much of the query's words the best memory has: a question about something else finds
/// memories that are near by chance, hardly ever ones that are near and have its words.
fn too_weak(candidates: &[Candidate], options: &RankingOptions) -> bool {
    let best_cosine = candidates.iter().filter_map(Candidate::meaning).max_by(f32::total_cmp);
    let coverage = candidates.iter().map(|c| c.coverage).max_by(f32::total_cmp).unwrap_or(0.0);
    best_cosine.is_some_and(|best| best + options.nothing_coverage * coverage < options.nothing_cosine)
}

/// The largest sum the parts can have: scores are divided by it, so that they stay within 0..=1.
fn highest(cues: &Cues) -> f32 {
    1.0 + cues.neighbours + cues.reply + cues.speaker + cues.date + cues.recency + cues.importance
}

fn sum(hit: &mut Ranked, scale: f32) {
    let parts = &mut hit.cues;
    let given = [
        &mut parts.neighbours,
        &mut parts.reply,
        &mut parts.speaker,
        &mut parts.date,
        &mut parts.recency,
        &mut parts.importance,
    ];
    hit.score *= scale;
    parts.versions *= scale;
    for part in given {
        *part *= scale;
        hit.score += *part;
    }
    // Nothing falls below 0, and what is taken is what was there to take.
    parts.turn = (parts.turn * scale).min(hit.score);
    hit.score -= parts.turn;
}

fn order(a: &Ranked, b: &Ranked, tie: &dyn Fn(u32, u32) -> Ordering) -> Ordering {
    let key = |r: &Ranked| (r.score, r.candidate.cosine.unwrap_or(0.0), r.candidate.bm25);
    let (a_key, b_key) = (key(a), key(b));
    b_key
        .0
        .total_cmp(&a_key.0)
        .then(b_key.1.total_cmp(&a_key.1))
        .then(b_key.2.total_cmp(&a_key.2))
        .then_with(|| tie(a.candidate.slot, b.candidate.slot))
}

/// The noise rule and the caller's cut-off. A memory that was not compared by cosine is judged by its words alone.
fn keep(candidate: &Candidate, options: &RankingOptions) -> bool {
    let cosine = candidate.cosine.unwrap_or(0.0);
    let noise = candidate.meaning().unwrap_or(0.0) < options.noise_cosine && candidate.words() <= 0.0;
    !noise && options.min_relevance.is_none_or(|least| cosine >= least)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

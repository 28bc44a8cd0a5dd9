//! Min-max fusion: each side's scores are stretched to 0..1 over the candidates and added by weight, so that the margin of
//! a strong match counts (rank fusion throws it away and was measured below BM25 alone).

use std::cmp::Ordering;

use super::options::RankingOptions;

/// A memory with both exact scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Where it is.
    pub slot: u32,
    /// Cosine with the query; None when either has no embedding.
    pub cosine: Option<f32>,
    /// BM25 of the query's words.
    pub bm25: f32,
    /// Distinct words of the query it has.
    pub matched_terms: u32,
}

/// A candidate with its fused score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// The candidate.
    pub candidate: Candidate,
    /// Fused score, 0..=1.
    pub score: f32,
    /// The cosine stretched over the candidates, 0..=1.
    pub vector_part: f32,
    /// BM25 stretched over the candidates, 0..=1.
    pub word_part: f32,
}

/// Fuse, order (best first; equal ones by cosine, then BM25, then as `tie` says), drop and cut. The flag says that nothing
/// is relevant: nothing is left, or every hit was compared by cosine and even the best is under `nothing_cosine`.
pub fn rank(
    candidates: Vec<Candidate>,
    options: &RankingOptions,
    tie: &dyn Fn(u32, u32) -> Ordering,
) -> (Vec<Ranked>, bool) {
    let best_cosine = candidates.iter().filter_map(|c| c.cosine).max_by(f32::total_cmp);
    let mut ranked = fuse(candidates, options.vector_weight);
    ranked.sort_by(|a, b| order(a, b, tie));
    let bar = ranked.first().map_or(0.0, |best| best.score * options.trim_ratio);
    ranked.retain(|hit| hit.score >= bar && keep(&hit.candidate, options));
    ranked.truncate(options.limit);
    let all_compared = ranked.iter().all(|hit| hit.candidate.cosine.is_some());
    let nothing = ranked.is_empty() || all_compared && best_cosine.is_some_and(|best| best < options.nothing_cosine);
    (ranked, nothing)
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
    let noise = cosine < options.noise_cosine && candidate.matched_terms == 0;
    !noise && options.min_relevance.is_none_or(|least| cosine >= least)
}

fn fuse(candidates: Vec<Candidate>, vector_weight: f32) -> Vec<Ranked> {
    let cosines = Span::of(candidates.iter().filter_map(|c| c.cosine));
    let words = Span::of(candidates.iter().map(|c| c.bm25));
    // A side that says nothing gives its weight to the other, so that scores keep reaching 1.
    let has_words = candidates.iter().any(|c| c.matched_terms > 0);
    let vector_weight = match (cosines.is_some(), has_words) {
        (true, false) => 1.0,
        (false, true) => 0.0,
        _ => vector_weight,
    };
    let ranked = |candidate: Candidate| {
        let vector_part = candidate.cosine.map_or(0.0, |c| cosines.map_or(0.0, |span| span.place(c)));
        let word_part = words.map_or(0.0, |span| span.place(candidate.bm25));
        let score = vector_weight * vector_part + (1.0 - vector_weight) * word_part;
        Ranked { candidate, score, vector_part, word_part }
    };
    candidates.into_iter().map(ranked).collect()
}

#[derive(Clone, Copy)]
struct Span {
    low: f32,
    high: f32,
}

impl Span {
    fn of(values: impl Iterator<Item = f32>) -> Option<Self> {
        values.fold(None, |span: Option<Self>, v| {
            let span = span.unwrap_or(Self { low: v, high: v });
            Some(Self { low: span.low.min(v), high: span.high.max(v) })
        })
    }

    /// 0 at the lowest, 1 at the highest; when all are equal, 1 for a match and 0 for none.
    fn place(self, value: f32) -> f32 {
        if self.high > self.low {
            (value - self.low) / (self.high - self.low)
        } else if value > 0.0 {
            1.0
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_slot(a: u32, b: u32) -> Ordering {
        a.cmp(&b)
    }

    fn candidate(slot: u32, cosine: Option<f32>, bm25: f32) -> Candidate {
        Candidate { slot, cosine, bm25, matched_terms: u32::from(bm25 > 0.0) }
    }

    fn ranked(candidates: &[Candidate], options: &RankingOptions) -> (Vec<(u32, f32)>, bool) {
        let (hits, nothing) = rank(candidates.to_vec(), options, &by_slot);
        (hits.iter().map(|h| (h.candidate.slot, h.score)).collect(), nothing)
    }

    #[test]
    fn both_sides_count_by_weight() {
        let all = RankingOptions { trim_ratio: 0.0, ..RankingOptions::default() };
        let given = [candidate(0, Some(0.8), 0.0), candidate(1, Some(0.3), 4.0), candidate(2, Some(0.55), 4.0)];
        assert_eq!(ranked(&given, &all).0, [(2, 0.75), (0, 0.5), (1, 0.5)]);
        assert_eq!(ranked(&given, &RankingOptions { trim_ratio: 0.7, ..all }).0, [(2, 0.75)]);
        assert_eq!(ranked(&given, &RankingOptions { limit: 1, ..all }).0, [(2, 0.75)]);
        assert_eq!(ranked(&given, &RankingOptions { min_relevance: Some(0.5), ..all }).0, [(2, 0.75), (0, 0.5)]);
    }

    #[test]
    fn a_side_that_says_nothing_gives_its_weight_away() {
        let options = RankingOptions::default();
        assert_eq!(ranked(&[candidate(0, None, 2.0)], &options), (vec![(0, 1.0)], false));
        assert_eq!(ranked(&[candidate(0, Some(0.5), 0.0)], &options), (vec![(0, 1.0)], false));
    }

    #[test]
    fn noise_is_small_cosine_without_a_word() {
        let all = RankingOptions { trim_ratio: 0.0, ..RankingOptions::default() };
        let given = [candidate(0, Some(0.9), 1.0), candidate(1, Some(0.1), 0.0), candidate(2, Some(0.1), 0.5)];
        assert_eq!(ranked(&given, &all).0.iter().map(|h| h.0).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn nothing_relevant_is_a_flag_that_empties_nothing() {
        let options = RankingOptions::default();
        assert_eq!(ranked(&[], &options), (vec![], true));
        assert_eq!(ranked(&[candidate(0, Some(0.29), 1.0)], &options), (vec![(0, 1.0)], true));
        assert_eq!(ranked(&[candidate(0, Some(0.30), 1.0)], &options), (vec![(0, 1.0)], false));
        // Found by words and never compared by cosine: nobody can say it is irrelevant.
        assert!(!ranked(&[candidate(0, Some(0.1), 1.0), candidate(1, None, 3.0)], &options).1);
    }

    proptest! {
        #[test]
        fn scores_stay_in_bounds_and_in_order(
            given in proptest::collection::vec((proptest::option::of(-1f32..=1.0), prop_oneof![Just(0f32), 0f32..30.0]), 0..40),
            weight in 0f32..=1.0, trim in 0f32..=1.0, limit in 0usize..50,
        ) {
            let options = RankingOptions { vector_weight: weight, trim_ratio: trim, limit, ..RankingOptions::default() };
            let given: Vec<_> = given.into_iter().enumerate().map(|(at, (c, b))| candidate(at as u32, c, b)).collect();
            let (hits, _) = rank(given, &options, &by_slot);
            prop_assert!(hits.len() <= limit);
            prop_assert!(hits.iter().all(|h| (0.0..=1.0001).contains(&h.score)));
            prop_assert!(hits.is_sorted_by(|a, b| a.score >= b.score));
            prop_assert!(hits.iter().all(|h| h.score >= trim * hits[0].score));
        }
    }
}

use proptest::prelude::*;

use super::*;

const BETWEEN: Between<'static> = Between { tie: &|a, b| a.cmp(&b), likeness: &|_, _| 0.0 };

/// Meaning and words alone, nothing trimmed.
fn plain() -> RankingOptions {
    RankingOptions { trim_ratio: 0.0, limit: 100, cues: Cues::OFF, ..RankingOptions::default() }
}

fn candidate(slot: u32, cosine: Option<f32>, bm25: f32) -> Candidate {
    Candidate { slot, cosine, bm25, matched_terms: u32::from(bm25 > 0.0), ..Candidate::default() }
}

fn ranked(candidates: &[Candidate], options: &RankingOptions) -> (Vec<(u32, f32)>, bool) {
    let (hits, nothing) = rank(candidates.to_vec(), options, &BETWEEN);
    (hits.iter().map(|h| (h.candidate.slot, h.score)).collect(), nothing)
}

#[test]
fn both_sides_count_by_weight() {
    let all = plain();
    let given = [candidate(0, Some(0.8), 0.0), candidate(1, Some(0.3), 4.0), candidate(2, Some(0.55), 4.0)];
    assert_eq!(ranked(&given, &all).0, [(2, 0.75), (0, 0.5), (1, 0.5)]);
    assert_eq!(ranked(&given, &RankingOptions { trim_ratio: 0.7, ..all }).0, [(2, 0.75)]);
    assert_eq!(ranked(&given, &RankingOptions { limit: 1, ..all }).0, [(2, 0.75)]);
    assert_eq!(ranked(&given, &RankingOptions { min_relevance: Some(0.5), ..all }).0, [(2, 0.75), (0, 0.5)]);
}

#[test]
fn a_side_that_says_nothing_gives_its_weight_away() {
    let options =
        RankingOptions { cues: Cues::OFF, nothing_coverage: 0.0, nothing_cosine: 0.3, ..RankingOptions::default() };
    assert_eq!(ranked(&[candidate(0, None, 2.0)], &options), (vec![(0, 1.0)], false));
    assert_eq!(ranked(&[candidate(0, Some(0.5), 0.0)], &options), (vec![(0, 1.0)], false));
}

#[test]
fn noise_is_small_cosine_without_a_word() {
    let all = plain();
    let given = [candidate(0, Some(0.9), 1.0), candidate(1, Some(0.1), 0.0), candidate(2, Some(0.1), 0.5)];
    assert_eq!(ranked(&given, &all).0.iter().map(|h| h.0).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn nothing_relevant_is_a_flag_that_empties_nothing() {
    let options =
        RankingOptions { cues: Cues::OFF, nothing_coverage: 0.0, nothing_cosine: 0.3, ..RankingOptions::default() };
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
        let (hits, _) = rank(given, &options, &BETWEEN);
        prop_assert!(hits.len() <= limit);
        prop_assert!(hits.iter().all(|h| (0.0..=1.0001).contains(&h.score)));
        prop_assert!(hits.is_sorted_by(|a, b| a.score >= b.score));
        prop_assert!(hits.iter().all(|h| h.score >= trim * hits[0].score));
    }
}

use proptest::prelude::*;

use super::*;
use crate::rank::{Lent, Traits};

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

fn with(cues: Cues) -> RankingOptions {
    RankingOptions { cues, ..plain() }
}

fn turn(slot: u32, cosine: f32, bm25: f32, traits: Traits) -> Candidate {
    Candidate { traits: Traits { turn: true, length: 12, ..traits }, ..candidate(slot, Some(cosine), bm25) }
}

fn order_of(candidates: &[Candidate], cues: Cues) -> Vec<u32> {
    ranked(candidates, &with(cues)).0.into_iter().map(|hit| hit.0).collect()
}

#[test]
fn an_answer_is_lifted_by_its_question_and_a_turn_by_its_neighbour() {
    let question = turn(0, 0.9, 5.0, Traits { asks: true, behind: Some(1), ..Traits::default() });
    let answer = turn(1, 0.3, 0.0, Traits { before: Some(0), ..Traits::default() });
    let other = turn(2, 0.4, 0.0, Traits::default());
    let all = [question, answer, other];
    assert_eq!(order_of(&all, Cues::OFF), [0, 2, 1]);
    assert_eq!(order_of(&all, Cues { reply: 0.3, ..Cues::OFF }), [0, 1, 2]);
    assert_eq!(order_of(&all, Cues { neighbours: 0.3, ..Cues::OFF }), [0, 1, 2]);
}

#[test]
fn each_cue_of_a_memory_lifts_or_lowers_it() {
    let plain_turn = turn(0, 0.5, 1.0, Traits::default());
    let same = |traits| [plain_turn, turn(1, 0.5, 1.0, traits), turn(2, 0.1, 0.0, Traits::default())];
    let first = |traits, cues| order_of(&same(traits), cues)[0];
    assert_eq!(first(Traits::default(), Cues::default()), 0);
    assert_eq!(first(Traits { named: true, ..Traits::default() }, Cues { speaker: 0.1, ..Cues::OFF }), 1);
    assert_eq!(first(Traits { dated: true, ..Traits::default() }, Cues { date: 0.1, ..Cues::OFF }), 1);
    assert_eq!(first(Traits { importance: 0.5, ..Traits::default() }, Cues { importance: 0.1, ..Cues::OFF }), 1);
    let asks = [turn(0, 0.5, 1.0, Traits { asks: true, ..Traits::default() }), turn(1, 0.5, 1.0, Traits::default())];
    assert_eq!(order_of(&asks, Cues { question_turn: 0.1, ..Cues::OFF }), [1, 0]);
    let mut short = asks;
    short[0].traits = Traits { turn: true, length: 2, ..Traits::default() };
    assert_eq!(order_of(&short, Cues { short_turn: 0.1, ..Cues::OFF }), [1, 0]);
    // A fact may be short.
    short[0].traits.turn = false;
    assert_eq!(order_of(&short, Cues { short_turn: 0.1, ..Cues::OFF }), [0, 1]);
    let mut old = asks.map(|c| Candidate { traits: Traits { time_us: Some(i64::MIN + 1), ..Traits::default() }, ..c });
    old[1].traits.time_us = Some(i64::MAX);
    assert_eq!(order_of(&old, Cues { recency: 0.01, ..Cues::OFF }), [1, 0]);
}

#[test]
fn what_other_versions_lend_counts_as_its_own_and_is_explained() {
    let lent = Lent { cosine: 0.3, words: 2.0 };
    let valid = Candidate { lent, ..candidate(0, Some(0.4), 1.0) };
    let all = [valid, candidate(1, Some(0.6), 2.0), candidate(2, Some(0.2), 0.0)];
    let (hits, _) = rank(all.to_vec(), &plain(), &BETWEEN);
    assert_eq!(hits.iter().map(|hit| hit.candidate.slot).collect::<Vec<_>>(), [0, 1, 2]);
    assert!((hits[0].score - 1.0).abs() < 1e-6 && (hits[0].cues.versions - (0.3 + 1.0 / 3.0)).abs() < 1e-6);
    assert_eq!((hits[0].candidate.cosine, hits[1].cues.versions), (Some(0.4), 0.0));
    // A fact in the words of the question is no noise because it changed since, and something is relevant.
    let changed = [Candidate { lent: Lent { cosine: 0.5, words: 0.0 }, ..candidate(0, Some(0.1), 0.0) }];
    let (kept, nothing) = ranked(&changed, &RankingOptions::default());
    assert_eq!((kept.len(), nothing), (1, false));
}

#[test]
fn near_copies_do_not_fill_the_list() {
    let copies: Vec<Candidate> = (0..6).map(|slot| candidate(slot, Some(0.9), 3.0)).collect();
    let other = candidate(6, Some(0.7), 2.0);
    let low = candidate(7, Some(0.2), 0.0);
    let all: Vec<Candidate> = copies.into_iter().chain([other, low]).collect();
    let between = Between { tie: &|a, b| a.cmp(&b), likeness: &|a, b| if a < 6 && b < 6 { 0.95 } else { 0.1 } };
    let options = RankingOptions { limit: 3, ..with(Cues { diversity: 0.3, ..Cues::OFF }) };
    let (hits, _) = rank(all.clone(), &options, &between);
    assert_eq!(hits.iter().map(|h| h.candidate.slot).collect::<Vec<_>>(), [0, 1, 6]);
    assert!((hits[1].cues.diversity - 0.27).abs() < 1e-5);
    let off = RankingOptions { cues: Cues::OFF, ..options };
    assert_eq!(rank(all, &off, &between).0.iter().map(|h| h.candidate.slot).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn words_help_a_weak_cosine_against_nothing_relevant() {
    let given = |coverage| [Candidate { coverage, ..candidate(0, Some(0.35), 1.0) }];
    let options = RankingOptions::default();
    assert_eq!((ranked(&given(0.0), &options).1, ranked(&given(0.5), &options).1), (true, false));
}

/// The definition, one candidate after the other, in double precision. Slot and score, in order.
fn oracle(given: &[Candidate], options: &RankingOptions, like: impl Fn(u32, u32) -> f32) -> Vec<(u32, f64)> {
    let cues = &options.cues;
    let w = |weight: f32| f64::from(weight);
    let stretch = |values: &[f64], value: f64| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { f64::from(value > 0.0) }
    };
    let meant = |c: &Candidate| {
        let lent = c.lent.cosine;
        move |cosine: f32| f64::from(cosine + lent)
    };
    let cosines: Vec<f64> =
        given.iter().filter(|c| !c.traits.beside_only).filter_map(|c| c.cosine.map(meant(c))).collect();
    let words: Vec<f64> = given.iter().map(|c| f64::from(c.words())).collect();
    let vector_weight = match (cosines.is_empty(), words.iter().all(|x| *x <= 0.0)) {
        (false, true) => 1.0,
        (true, false) => 0.0,
        _ => w(options.vector_weight),
    };
    let base: Vec<f64> = given
        .iter()
        .zip(&words)
        .map(|(c, x)| {
            let vector = c
                .cosine
                .map(meant(c))
                .map_or(0.0, |meaning| if cosines.is_empty() { 0.0 } else { stretch(&cosines, meaning) });
            vector_weight * vector + (1.0 - vector_weight) * stretch(&words, *x)
        })
        .collect();
    let times: Vec<f64> = given.iter().filter_map(|c| c.traits.time_us).map(|t| t as f64).collect();
    let spread = times.iter().any(|t| *t != times[0]);
    let scale = 1.0
        + w(cues.neighbours)
        + w(cues.reply)
        + w(cues.speaker)
        + w(cues.date)
        + w(cues.recency)
        + w(cues.importance);
    let mut scored: Vec<(usize, f64)> = Vec::new();
    for (at, c) in given.iter().enumerate() {
        let t = &c.traits;
        let near = |place: Option<u32>| place.and_then(|p| base.get(p as usize)).copied().unwrap_or(0.0);
        let mut score = base[at] + w(cues.neighbours) * near(t.before).max(near(t.behind));
        if t.before.is_some_and(|p| given.get(p as usize).is_some_and(|b| b.traits.asks)) {
            score += w(cues.reply) * near(t.before);
        }
        score += if t.named { w(cues.speaker) } else { 0.0 } + if t.dated { w(cues.date) } else { 0.0 };
        score +=
            if spread { t.time_us.map_or(0.0, |time| w(cues.recency) * stretch(&times, time as f64)) } else { 0.0 };
        score += w(cues.importance) * f64::from(t.importance);
        if t.turn {
            score -= w(cues.short_turn) * (1.0 - (f64::from(t.length) / 12.0).min(1.0));
            score -= if t.asks { w(cues.question_turn) } else { 0.0 };
        }
        let noise = c.cosine.map_or(0.0, meant(c)) < f64::from(options.noise_cosine) && c.words() <= 0.0;
        if !noise {
            scored.push((at, score.max(0.0) / scale));
        }
    }
    let mut chosen: Vec<(u32, f64)> = Vec::new();
    while let Some(best) = (0..scored.len()).rev().max_by(|a, b| scored[*a].1.total_cmp(&scored[*b].1)) {
        let (at, score) = scored.remove(best);
        let slot = given[at].slot;
        chosen.push((slot, score.max(0.0)));
        for (other, left) in &mut scored {
            let alike = f64::from(like(slot, given[*other].slot));
            *left -= w(cues.diversity) * ((alike - 0.5) / 0.5).max(0.0);
        }
    }
    chosen
}

fn any_cues() -> impl Strategy<Value = Cues> {
    proptest::collection::vec(prop_oneof![Just(0f32), 0f32..=1.0], Cues::OFF.named().len()).prop_map(|weights| {
        let mut cues = Cues::OFF;
        for ((name, _), weight) in Cues::OFF.named().into_iter().zip(weights) {
            *cues.weight_mut(name).unwrap() = weight;
        }
        cues
    })
}

prop_compose! {
    fn any_candidate()(
        cosine in proptest::option::weighted(0.8, -0.2f32..=1.0),
        bm25 in prop_oneof![Just(0f32), 0f32..20.0],
        (context, phrases) in (prop_oneof![Just(0f32), 0f32..5.0], prop_oneof![Just(0f32), 0f32..2.0]),
        (names, lent) in (prop_oneof![Just(0f32), 0f32..5.0], (prop_oneof![Just(0f32), 0f32..0.5], prop_oneof![Just(0f32), 0f32..5.0])),
        (before, behind) in (proptest::option::of(0u32..20), proptest::option::of(0u32..20)),
        (beside_only, turn, asks, named, dated) in any::<(bool, bool, bool, bool, bool)>(),
        (length, time_us, importance) in (0u32..30, proptest::option::of(0i64..1_000_000), 0f32..=1.0),
    ) -> Candidate {
        Candidate {
            slot: 0,
            cosine,
            bm25,
            matched_terms: u32::from(bm25 > 0.0),
            coverage: 0.0,
            context,
            phrases,
            names: names - bm25.min(2.0 * names),
            lent: Lent { cosine: lent.0, words: lent.1 },
            traits: Traits { beside_only, before, behind, turn, asks, length, named, dated, time_us, importance },
        }
    }
}

proptest! {
    #[test]
    fn the_whole_ranking_is_its_definition(
        given in proptest::collection::vec(any_candidate(), 0..20), cues in any_cues(), vector_weight in 0f32..=1.0,
    ) {
        let given: Vec<Candidate> =
            given.into_iter().enumerate().map(|(at, c)| Candidate { slot: at as u32, ..c }).collect();
        let like = |a: u32, b: u32| ((a * b + a + b) % 7) as f32 / 6.0;
        let options = RankingOptions { vector_weight, ..with(cues) };
        let (hits, _) = rank(given.clone(), &options, &Between { tie: &|a, b| a.cmp(&b), likeness: &like });
        let expected = oracle(&given, &options, like);
        prop_assert_eq!(hits.len(), expected.len());
        for (hit, (_, score)) in hits.iter().zip(&expected) {
            prop_assert!((f64::from(hit.score) - score).abs() < 1e-4, "{:?} {}", hit, score);
            let parts = &hit.cues;
            let given = parts.neighbours + parts.reply + parts.speaker + parts.date + parts.recency + parts.importance;
            prop_assert!(hit.score <= given - parts.turn - parts.diversity + 1.0001);
        }
        prop_assert!(hits.is_sorted_by(|a, b| a.score >= b.score - 1e-6));
    }
}

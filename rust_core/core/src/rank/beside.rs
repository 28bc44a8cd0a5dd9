//! Cues from the turns beside: a turn gets a part of the score of its better neighbour, and of the question it follows.

use super::candidate::Ranked;
use super::cues::Cues;

/// What was said just before and after tells what a turn is about ("Yes, in Lyon!"), and an answer seldom repeats the
/// words of its question. The better neighbour rather than both: two weak ones are no evidence.
pub fn lend(ranked: &mut [Ranked], cues: &Cues) {
    let scores: Vec<(f32, bool)> = ranked.iter().map(|r| (r.score, r.candidate.traits.asks)).collect();
    let at = |place: Option<u32>| place.and_then(|place| scores.get(place as usize)).copied();
    for hit in ranked {
        let traits = hit.candidate.traits;
        let (before, behind) = (at(traits.before), at(traits.behind));
        let best = before.map_or(0.0, |b| b.0).max(behind.map_or(0.0, |b| b.0));
        hit.cues.neighbours = cues.neighbours * best;
        hit.cues.reply = before.filter(|b| b.1).map_or(0.0, |b| cues.reply * b.0);
    }
}

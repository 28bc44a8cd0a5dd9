//! Diversity: five near-copies must not fill the list. Maximal marginal relevance (Carbonell and Goldstein, 1998), with the
//! penalties of all higher ones added up, so that each further copy falls deeper; only what is nearly the same counts.

use super::candidate::Ranked;

/// From this likeness of the words on, two memories say nearly the same.
const ALIKE: f32 = 0.5;
/// Candidates beyond the limit that may move up.
const SPARE: usize = 10;
/// Choices made one by one: each compares all that are left.
const MAX_SPREAD: usize = 50;

/// Choose the best `limit` one after the other. `ranked` is sorted, best first; `likeness` of two slots is 0..=1.
pub fn spread(ranked: &mut Vec<Ranked>, limit: usize, weight: f32, likeness: &dyn Fn(u32, u32) -> f32) {
    if weight <= 0.0 {
        return;
    }
    ranked.truncate(limit.saturating_add(SPARE));
    let mut penalty = vec![0f32; ranked.len()];
    for chosen in 0..ranked.len().min(limit).min(MAX_SPREAD) {
        let left = |at: &usize| ranked[*at].score - penalty[*at];
        // The first of equals: the order of the list breaks ties.
        let best = (chosen..ranked.len()).rev().max_by(|a, b| left(a).total_cmp(&left(b))).unwrap_or(chosen);
        ranked[chosen..=best].rotate_right(1);
        penalty[chosen..=best].rotate_right(1);
        let slot = ranked[chosen].candidate.slot;
        for at in chosen + 1..ranked.len() {
            let like = likeness(slot, ranked[at].candidate.slot);
            penalty[at] += weight * ((like - ALIKE) / (1.0 - ALIKE)).max(0.0);
        }
    }
    for (hit, penalty) in ranked.iter_mut().zip(penalty) {
        hit.cues.diversity = penalty.min(hit.score.max(0.0));
        hit.score -= hit.cues.diversity;
    }
    // Those beyond MAX_SPREAD; a stable sort leaves what was chosen as it is.
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranked.truncate(limit);
}

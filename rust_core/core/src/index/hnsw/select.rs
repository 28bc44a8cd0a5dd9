//! Which candidates become links.

use super::graph::View;
use super::scratch::{Batch, Found};

/// SELECT-NEIGHBORS-HEURISTIC (Algorithm 4): of candidates, best first, at most `m` each of which is closer to the node than
/// to any chosen before; when these are fewer than `least`, the best of the others fill up (the paper's
/// `keepPrunedConnections`), so that a clump of equal vectors does not fall apart.
pub fn select(view: View<'_>, candidates: &[Found], m: usize, least: usize) -> Vec<u32> {
    let mut chosen = Batch::default();
    let mut pruned = Vec::new();
    for candidate in candidates {
        if chosen.len == m {
            break;
        }
        if closer_to_chosen(view, candidate, &mut chosen) {
            pruned.push(candidate.row);
        } else {
            chosen.push(candidate.row);
        }
    }
    let mut chosen = chosen.rows[..chosen.len].to_vec();
    let missing = least.saturating_sub(chosen.len());
    chosen.extend(pruned.into_iter().take(missing));
    chosen
}

/// Looked at a few at a time: most candidates fall to one of the first.
fn closer_to_chosen(view: View<'_>, candidate: &Found, chosen: &mut Batch) -> bool {
    const STEP: usize = 4;
    if chosen.len == 0 {
        return false;
    }
    let probe = view.table.probe(candidate.row);
    let mut part = Batch::default();
    for rows in chosen.rows[..chosen.len].chunks(STEP) {
        part.len = 0;
        rows.iter().for_each(|&row| part.push(row));
        view.score(&probe, &mut part);
        if part.iter().any(|(_, cosine)| cosine >= candidate.cosine) {
            return true;
        }
    }
    false
}

//! Which way to search, from counts. The unit is one distance evaluation of a walk.

/// What is known before a search.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Visible slots with vectors.
    pub matching: usize,
    /// Rows in the graph.
    pub linked: usize,
    /// Candidates a walk keeps.
    pub ef: usize,
    /// Evaluations of a walk without a filter for each candidate it keeps: what the vectors themselves decide.
    pub effort: f32,
}

/// A way to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Look at every visible vector.
    Scan,
    /// Walk over the graph. When that has taken `budget` evaluations, scanning would have been the better way: stop and
    /// scan, so that the two together are no more than twice the better one.
    Walk {
        /// Evaluations.
        budget: usize,
    },
}

/// Getting near takes as many evaluations as so many more candidates would.
const CANDIDATES_TO_GET_NEAR: usize = 10;
/// A scan may cost so many times what a walk would cost at least: as rare as the visible rows are, the walk may well cost
/// several times that, which nobody knows before.
const MOST_OVER_BEST: f32 = 2.0;
/// A scan reads memory in order and keeps no queue: it evaluates this many rows in the time a walk evaluates one.
const SCAN_SPEED: usize = 4;

/// What it costs to scan so many rows.
pub fn scan_cost(rows: usize) -> usize {
    rows / SCAN_SPEED
}

/// What a walk costs at least: when all rows near the query are visible.
fn least_walk_cost(ef: usize, effort: f32) -> f32 {
    // It evaluates each candidate it keeps, whatever the first walks of a small graph cost.
    (ef + CANDIDATES_TO_GET_NEAR) as f32 * effort.max(1.0)
}

/// Choose.
pub fn choose(counts: Counts) -> Plan {
    let scan = scan_cost(counts.matching);
    let most = MOST_OVER_BEST * least_walk_cost(counts.ef, counts.effort);
    if scan as f32 <= most || counts.linked == 0 { Plan::Scan } else { Plan::Walk { budget: scan } }
}

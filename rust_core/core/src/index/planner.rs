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

/// Evaluations of a walk for each candidate it keeps, at least: below that scanning is as good.
const LEAST_EVALUATIONS_PER_CANDIDATE: usize = 5;
/// A scan reads memory in order and keeps no queue: it evaluates this many rows in the time a walk evaluates one.
const SCAN_SPEED: usize = 4;

/// What it costs to scan so many rows.
pub fn scan_cost(rows: usize) -> usize {
    rows / SCAN_SPEED
}

/// Choose.
pub fn choose(counts: Counts) -> Plan {
    let scan = scan_cost(counts.matching);
    let least_walk = counts.ef * LEAST_EVALUATIONS_PER_CANDIDATE;
    if scan <= least_walk || counts.linked == 0 { Plan::Scan } else { Plan::Walk { budget: scan } }
}

//! Searching: the way the planner chooses, the walk, and what to do when it finds too few.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::scratch::Scratch;
use super::{HnswIndex, RowCounts};
use crate::bitmap::Bitmap;
use crate::index::kernels::{Probe, dot_gather};
use crate::index::planner::{Counts, Plan, choose, scan_cost};
use crate::index::quantize::PreparedQuery;
use crate::index::scan::keep_best_window;
use crate::index::{SearchOptions, keep_best};
use crate::limits::MAX_WINDOWS;

/// Candidates a walk keeps by default, at least: recall at 10 is above .98 on 100,000 sentences.
const DEFAULT_EF: usize = 80;
/// And for each hit wanted.
const EF_PER_HIT: usize = 2;
/// A walk that finds too few is taken again with this many times the candidates.
const WIDEN: usize = 4;
/// Steps of a filtered walk after which it is known how rare the visible rows are where the query is.
const STEPS_TO_KNOW: usize = 32;

/// A filtered walk looks so many times as far around as one without a filter: what it keeps is then a sample.
const REACH: f64 = 2.5;
/// Later steps meet fewer new nodes than the first: at least this part of what the first ones meet,
const FEWEST_AT_FIRST: f64 = 0.2;
/// and of what those after them meet.
const FEWEST_LATER: f64 = 0.5;

/// Slots with cosines, and what it cost to find them, in evaluations of a walk.
type Hits = (Vec<(u32, f32)>, usize);

impl HnswIndex {
    /// `search`, and what that cost in evaluations of a walk.
    pub fn find(
        &self,
        query: &PreparedQuery,
        top_k: usize,
        visible: &Bitmap,
        options: &SearchOptions,
        tie: &dyn Fn(u32, u32) -> Ordering,
    ) -> Hits {
        let matching = self.slots.matching(visible);
        let top_k = top_k.min(matching);
        if top_k == 0 {
            return Default::default();
        }
        let ef = options.ef.unwrap_or_else(|| default_ef(top_k)).max(top_k);
        let plan = choose(Counts { matching, linked: self.counts.linked, ef, effort: self.graph.effort() });
        let mut spent = 0;
        let mut scored = None;
        if let (Plan::Walk { budget }, false) = (plan, options.exact) {
            let walk = Walk { index: self, query, visible, matching, top_k, budget };
            (scored, spent) = walk.run(ef);
        }
        let mut scored = scored.unwrap_or_else(|| {
            let mask = self.rows_of(visible, matching);
            spent += scan_cost(mask.iter().map(|word| word.count_ones() as usize).sum());
            let mut scored = self.scan(query, top_k, &mask);
            if self.slots.any_many() {
                keep_best_window(&mut scored);
            }
            scored
        });
        keep_best(&mut scored, top_k, tie);
        (scored, spent)
    }

    /// Cost of the walk when it may take as many evaluations as it wants.
    #[cfg(test)]
    pub(super) fn walk_only(&self, query: &PreparedQuery, top_k: usize, visible: &Bitmap) -> usize {
        let matching = self.slots.matching(visible);
        let walk = Walk { index: self, query, visible, matching, top_k: top_k.min(matching), budget: usize::MAX };
        walk.run(default_ef(top_k)).1
    }

    /// The cosine searches report, of one row.
    pub(super) fn row_cosine(&self, row: u32, query: &PreparedQuery) -> f32 {
        let (high, low) = dot_both(self, row, query);
        query.cosine(high, low, self.table.scale(row))
    }
}

fn default_ef(top_k: usize) -> usize {
    DEFAULT_EF.max(top_k.saturating_mul(EF_PER_HIT))
}

fn dot_both(index: &HnswIndex, row: u32, query: &PreparedQuery) -> (i32, i32) {
    let probe = |codes| Probe::new(codes, 1.0);
    let mut dots = [[0]; 2];
    for (codes, dot) in [&query.codes.high, &query.codes.low].into_iter().zip(&mut dots) {
        dot_gather(index.kernels, &probe(codes), std::iter::once(index.table.codes(row)), dot);
    }
    (dots[0][0], dots[1][0])
}

struct Walk<'a> {
    index: &'a HnswIndex,
    query: &'a PreparedQuery,
    visible: &'a Bitmap,
    matching: usize,
    top_k: usize,
    budget: usize,
}

impl Walk<'_> {
    /// At least `top_k` slots, or None when a scan is the better way.
    fn run(&self, ef: usize) -> (Option<Vec<(u32, f32)>>, usize) {
        let (index, top_k) = (self.index, self.top_k);
        let (waiting, mut spent) = self.scan_tail(top_k);
        let mut ef = ef;
        while spent <= self.budget {
            let found = index.graph.with_scratch(|scratch| {
                let nodes = self.nodes(ef, scratch, self.budget - spent);
                spent += scratch.evaluations;
                nodes
            });
            let Some(nodes) = found else { break };
            let mut scored = self.rescore(&nodes, top_k);
            scored.extend_from_slice(&waiting);
            if index.slots.any_many() || index.counts.tail > 0 {
                keep_best_window(&mut scored);
            }
            if scored.len() >= top_k {
                return (Some(scored), spent);
            }
            if ef >= index.counts.linked {
                break; // it went wherever links lead: what it lacks no wider walk finds
            }
            ef = ef.saturating_mul(WIDEN);
        }
        (None, spent)
    }

    fn scan_tail(&self, top_k: usize) -> (Vec<(u32, f32)>, usize) {
        if self.index.counts.tail == 0 {
            return Default::default();
        }
        let mask = self.index.waiting_rows(self.visible, self.matching);
        let rows = mask.iter().map(|word| word.count_ones() as usize).sum();
        (self.index.scan(self.query, top_k, &mask), scan_cost(rows))
    }

    /// The visible rows the nodes stand for, by slot.
    fn rescore(&self, nodes: &[u32], top_k: usize) -> Vec<(u32, f32)> {
        let (index, table) = (self.index, &self.index.table);
        // Rows of one slot count once.
        let enough = if index.slots.any_many() { top_k.saturating_mul(MAX_WINDOWS) } else { top_k };
        let mut scored = Vec::with_capacity(nodes.len());
        for &node in nodes {
            let cosine = index.row_cosine(node, self.query);
            let rows = std::iter::once(node).chain(table.twins(node));
            let slots = rows.filter_map(|row| table.owner(row)).map(|owner| owner.slot);
            scored.extend(slots.filter(|&slot| self.visible.get(slot)).take(enough).map(|slot| (slot, cosine)));
        }
        scored
    }

    /// Whether the node stands for a visible row.
    #[inline]
    fn is_wanted(&self, node: u32) -> bool {
        self.index.is_visible(node, self.visible)
            || self.index.table.twins(node).any(|twin| self.index.is_visible(twin, self.visible))
    }

    /// The best `ef` nodes that stand for visible rows, as far as the walk finds them; None when it takes too long.
    fn nodes(&self, ef: usize, scratch: &mut Scratch, budget: usize) -> Option<Vec<u32>> {
        let view = self.index.view();
        scratch.evaluations = 0;
        let enter = self.index.graph.enter()?;
        let probe = Probe::new(&self.query.codes.high, self.query.scale);
        let start = view.descend(&probe, enter, 0);
        if self.matching < self.index.slots.len() {
            return self.filtered(&probe, start, ef, scratch, budget);
        }
        let RowCounts { dead, linked, .. } = self.index.counts;
        // Dead rows take room among the candidates: as much as their share, unless they lie close together.
        let room = ef + ef * dead / linked * 2 + 2 * usize::from(dead > 0);
        view.begin(start, room, scratch);
        view.search_layer(&probe, 0, scratch);
        let found = scratch.pool.found();
        let crowded = found.len() == room;
        let nodes: Vec<u32> =
            found.iter().map(|found| found.row).filter(|&node| dead == 0 || self.is_wanted(node)).collect();
        if nodes.len() < ef && crowded { self.filtered(&probe, start, ef, scratch, budget) } else { Some(nodes) }
    }

    /// SEARCH-LAYER over all nodes, keeping only the wanted ones.
    fn filtered(
        &self,
        probe: &Probe<'_>,
        start: (u32, f32),
        ef: usize,
        scratch: &mut Scratch,
        budget: usize,
    ) -> Option<Vec<u32>> {
        let view = self.index.view();
        view.begin(start, 1, scratch);
        let mut kept = Kept { best: BinaryHeap::new(), ef };
        let mut frontier = BinaryHeap::from([Near(start.1, start.0)]);
        if self.is_wanted(start.0) {
            kept.push(Near(start.1, start.0));
        }
        let least = (self.top_k + self.top_k / 2).clamp(1, ef);
        let (mut steps, mut seen, mut shown, mut before) = (0, 0u32, 0u32, 0);
        while let Some(next) = frontier.pop() {
            if next.0 < kept.bar() {
                break;
            }
            view.unseen(next.1, 0, scratch);
            view.score(probe, &mut scratch.batch);
            let bar = kept.bar();
            for (row, cosine) in scratch.batch.iter().filter(|&(_, cosine)| cosine > bar) {
                frontier.push(Near(cosine, row));
                seen += 1;
                if self.is_wanted(row) {
                    shown += 1;
                    kept.push(Near(cosine, row));
                }
            }
            steps += 1;
            if steps % STEPS_TO_KNOW == 0 {
                // With one node in n wanted hereabouts the walk takes n times as many steps as it keeps nodes.
                let rarity = f64::from(seen + 1) / f64::from(shown + 1);
                kept.limit(((ef as f64 * REACH / rarity) as usize).clamp(least, ef));
                let left = (kept.ef as f64 * rarity - steps as f64).max(0.0);
                let rate = (scratch.evaluations - before) as f64 / STEPS_TO_KNOW as f64;
                let fewest = if steps == STEPS_TO_KNOW { FEWEST_AT_FIRST } else { FEWEST_LATER };
                if scratch.evaluations as f64 + left * rate * fewest > budget as f64 {
                    return None;
                }
                before = scratch.evaluations;
                // What was met on the way here counts less and less.
                (seen, shown) = (seen / 2, shown / 2);
            }
            if scratch.evaluations > budget {
                return None;
            }
        }
        Some(kept.best.into_iter().map(|Reverse(near)| near.1).collect())
    }
}

/// A row by its cosine: the largest is the nearest.
#[derive(Clone, Copy, PartialEq)]
struct Near(f32, u32);

impl Eq for Near {}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(other.1.cmp(&self.1))
    }
}

/// The best visible rows so far.
struct Kept {
    best: BinaryHeap<Reverse<Near>>,
    ef: usize,
}

impl Kept {
    fn bar(&self) -> f32 {
        match self.best.peek() {
            Some(Reverse(worst)) if self.best.len() == self.ef => worst.0,
            _ => f32::NEG_INFINITY,
        }
    }

    /// Keep more or fewer from now on.
    fn limit(&mut self, ef: usize) {
        self.ef = ef;
        while self.best.len() > ef {
            self.best.pop();
        }
    }

    fn push(&mut self, near: Near) {
        self.best.push(Reverse(near));
        if self.best.len() > self.ef {
            self.best.pop();
        }
    }
}

//! Leading the links around dead rows, so that their numbers can be used again and the graph does not rot.

use std::cmp::Reverse;
use std::sync::Arc;

use super::HnswIndex;
use super::block::Table;
use super::graph::{Enter, Graph, View};
use super::insert::{Linking, add_link, in_threads, ranked, relink};
use super::params::level_of;
use super::scratch::Scratch;
use super::select::select;
use crate::bitmap::Bitmap;
use crate::error::Error;
use crate::index::kernels::Level;

/// Dead rows through which replacements of one lost link are looked for, at most: where all are dead there is no end.
const MAX_DEAD_FOLLOWED: usize = 64;
/// Rows a node's new links are chosen from, at most.
const MAX_CANDIDATES: usize = 256;

/// Dead rows on their way out of the graph, and all that is needed to get there.
pub struct Repair {
    table: Table,
    graph: Arc<Graph>,
    kernels: Level,
    dead: Bitmap,
    /// Dead nodes that stay, because living twins are found through them.
    anchors: usize,
    /// The other nodes, and how many of them have been looked at.
    nodes: Vec<u32>,
    done: usize,
}

impl HnswIndex {
    /// The next rows of the tail, at most `max_rows`, to be linked. Until `linked` takes them back, searches go on scanning
    /// them.
    pub fn claim(&mut self, max_rows: usize) -> Linking {
        let rows: Vec<u32> = self.tail.iter().take(max_rows).collect();
        rows.iter().for_each(|&row| self.linked.set(row));
        self.counts.linked += rows.len();
        Linking { table: self.table.clone(), graph: self.graph.clone(), kernels: self.kernels, rows }
    }

    /// Searches find these rows by walking from now on.
    pub fn linked(&mut self, linking: &Linking) {
        for &row in linking.rows.iter().filter(|&&row| self.live.get(row)) {
            self.tail.clear(row);
            self.counts.tail -= 1;
        }
    }

    /// The dead rows there are now. Not while rows are claimed.
    pub fn damage(&self) -> Damage {
        let (live, linked) = (self.live.clone(), self.linked.clone());
        Damage { live, linked, table: self.table.clone(), graph: self.graph.clone(), kernels: self.kernels }
    }

    /// Let a repair that is done in parts see rows linked since it began.
    pub fn refresh(&self, repair: &mut Repair) {
        repair.table = self.table.clone();
    }

    /// Take the dead rows, to which nothing links any more, out of the graph.
    pub fn retire(&mut self, repair: &Repair) {
        self.linked.and_not(&repair.dead);
        self.counts.linked -= repair.len();
        self.counts.dead -= repair.len();
        self.counts.anchors = repair.anchors;
    }

    /// These wiped rows may be used again.
    pub fn release(&mut self, rows: &[u32]) {
        self.free.extend(rows.iter().copied().map(Reverse));
    }
}

/// What a repair is made of, gathered in as little time as possible.
pub struct Damage {
    live: Bitmap,
    linked: Bitmap,
    table: Table,
    graph: Arc<Graph>,
    kernels: Level,
}

impl Damage {
    /// Sort the living from the dead, and leave the dead out of the chains of twins.
    pub fn assess(self) -> Repair {
        let Self { live, linked, table, graph, kernels } = self;
        let mut dead = linked.clone();
        dead.and_not(&live);
        let mut anchors = 0;
        for node in linked.iter().filter(|&row| !table.is_twin(row)) {
            table.unlink_twins(node, |twin| dead.get(twin));
            if dead.get(node) && table.twins(node).next().is_some() {
                dead.clear(node);
                anchors += 1;
            }
        }
        let nodes = linked.iter().filter(|&row| !dead.get(row) && !table.is_twin(row)).collect();
        Repair { table, graph, kernels, dead, anchors, nodes, done: 0 }
    }
}

impl Repair {
    /// How many rows are dead.
    pub fn len(&self) -> usize {
        self.dead.count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The dead rows.
    pub fn rows(&self) -> Vec<u32> {
        self.dead.iter().collect()
    }

    /// Nodes that have not been looked at.
    pub fn left(&self) -> usize {
        self.nodes.len() - self.done
    }

    /// Let the next `max_nodes` no longer link to the dead rows. Searches go on meanwhile, and may still pass through them.
    pub fn run(&mut self, max_nodes: usize, threads: usize) -> Result<(), Error> {
        self.move_enter_point();
        let part = &self.nodes[self.done..][..max_nodes.min(self.left())];
        let view = View { table: &self.table, graph: &self.graph, kernels: self.kernels };
        in_threads(threads, part.len(), |scratch, at| {
            for level in 0..=level_of(part[at]) {
                self.rewire(view, part[at], level, scratch);
            }
        })?;
        self.done += part.len();
        Ok(())
    }

    fn move_enter_point(&self) {
        let _growing = self.graph.lock_growing();
        if self.graph.enter().is_none_or(|enter| !self.dead.get(enter.row)) {
            return;
        }
        let highest = self.nodes.iter().copied().max_by_key(|&row| level_of(row));
        self.graph.set_enter(highest.map(|row| Enter { row, level: level_of(row) }));
    }

    fn rewire(&self, view: View<'_>, node: u32, level: usize, scratch: &mut Scratch) {
        let links: Vec<u32> = view.table.neighbours(node, level).collect();
        if !links.iter().any(|&row| self.dead.get(row)) {
            return;
        }
        let kept: Vec<u32> = links.iter().copied().filter(|&row| !self.dead.get(row)).collect();
        let candidates = ranked(view, node, &self.candidates(view, node, level, &kept, &links));
        if candidates.is_empty() {
            self.keep_living(view, node, level);
            relink(view, node, level, scratch);
            return;
        }
        let chosen = {
            let _writing = view.graph.lock_links(node);
            let most = view.table.links(node, level).len();
            // Others may have linked to it meanwhile.
            let mut chosen = select(view, &candidates, most, kept.len().max(most / 2));
            let new = view.table.neighbours(node, level).filter(|row| !links.contains(row));
            let new: Vec<u32> = new.filter(|row| !chosen.contains(row)).take(most - chosen.len()).collect();
            chosen.extend(new);
            view.table.set_links(node, level, &chosen);
            chosen
        };
        // Who was found only through the dead must not be lost.
        for &row in chosen.iter().filter(|row| !kept.contains(row)) {
            add_link(view, row, node, level);
        }
    }

    /// Let go of the links to dead rows, though not of those others made meanwhile.
    fn keep_living(&self, view: View<'_>, node: u32, level: usize) {
        let _writing = view.graph.lock_links(node);
        let living: Vec<u32> = view.table.neighbours(node, level).filter(|&row| !self.dead.get(row)).collect();
        view.table.set_links(node, level, &living);
    }

    /// What it links to, and the nearest living rows behind the dead ones.
    fn candidates(&self, view: View<'_>, node: u32, level: usize, kept: &[u32], links: &[u32]) -> Vec<u32> {
        let mut found = kept.to_vec();
        let mut dead: Vec<u32> = links.iter().copied().filter(|&row| self.dead.get(row)).collect();
        let mut at = 0;
        while at < dead.len() && found.len() < MAX_CANDIDATES {
            for row in view.table.neighbours(dead[at], level) {
                if self.dead.get(row) {
                    if dead.len() < MAX_DEAD_FOLLOWED && !dead.contains(&row) {
                        dead.push(row);
                    }
                } else if row != node && !found.contains(&row) {
                    found.push(row);
                }
            }
            at += 1;
        }
        found
    }

    /// Leave nothing of the vectors. Between `retire` and `release`.
    pub fn wipe(&self) {
        for row in self.dead.iter() {
            for level in 0..=level_of(row) {
                self.table.set_links(row, level, &[]);
            }
            // SAFETY: `retire` had the index for itself, so no search that could be reading the row is left; nothing links
            // to it, no bitmap has it, and it is not among the free numbers before `release`.
            unsafe { self.table.wipe(row) };
        }
    }
}

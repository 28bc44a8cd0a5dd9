//! The part of the graph that is left without its dead rows.

use rustc_hash::FxHashMap;

use crate::bitmap::Bitmap;
use crate::index::hnsw::HnswIndex;
use crate::index::hnsw::params::{NONE, level_of};

/// Nodes with their links. A row that others link meanwhile is not in it.
pub struct Sound<'a> {
    index: &'a HnswIndex,
    /// Living rows that are linked for good.
    settled: Bitmap,
    /// Living twins in place of dead nodes.
    heirs: FxHashMap<u32, u32>,
    /// And the other way round.
    inherited: FxHashMap<u32, u32>,
    /// Where walks begin; `NONE` when there is nothing.
    pub enter: u32,
    /// What a walk that begins there can reach.
    pub nodes: Bitmap,
    /// Rows that are in the graph through a node, with that node.
    pub twins: FxHashMap<u32, u32>,
}

impl<'a> Sound<'a> {
    pub fn of(index: &'a HnswIndex) -> Self {
        let mut settled = index.linked.clone();
        settled.and(&index.live);
        settled.and_not(&index.tail);
        let nodes = Bitmap::zeros(settled.len());
        let (heirs, inherited, twins) = Default::default();
        let mut made = Self { index, settled, heirs, inherited, enter: NONE, nodes, twins };
        made.find_heirs();
        made.find_enter();
        made.find_nodes();
        made.find_twins();
        made
    }

    fn find_heirs(&mut self) {
        let table = &self.index.table;
        let mut dead = self.index.linked.clone();
        dead.and_not(&self.index.live);
        for node in dead.iter().filter(|&row| !table.is_twin(row)) {
            if let Some(heir) = table.twins(node).find(|&twin| self.settled.get(twin)) {
                self.heirs.insert(node, heir);
                self.inherited.insert(heir, node);
            }
        }
    }

    /// The node that is left of a node on a level.
    fn left_of(&self, node: u32, level: usize) -> Option<u32> {
        if self.settled.get(node) {
            return Some(node);
        }
        self.heirs.get(&node).copied().filter(|&heir| level_of(heir) >= level)
    }

    fn is_node(&self, row: u32) -> bool {
        self.settled.get(row) && (!self.index.table.is_twin(row) || self.inherited.contains_key(&row))
    }

    fn find_enter(&mut self) {
        let left = self.index.graph.enter().and_then(|enter| self.left_of(enter.row, 0));
        let highest = || self.settled.iter().filter(|&row| self.is_node(row)).max_by_key(|&row| level_of(row));
        self.enter = left.or_else(highest).unwrap_or(NONE);
    }

    fn find_nodes(&mut self) {
        if self.enter == NONE {
            return;
        }
        self.nodes.set(self.enter);
        let (mut open, mut links) = (vec![self.enter], Vec::new());
        while let Some(row) = open.pop() {
            for level in 0..=level_of(row) {
                self.links(row, level, &mut links);
                for &to in links.iter() {
                    if !self.nodes.get(to) {
                        self.nodes.set(to);
                        open.push(to);
                    }
                }
            }
        }
    }

    fn find_twins(&mut self) {
        for row in self.nodes.iter() {
            let node = self.inherited.get(&row).copied().unwrap_or(row);
            let twins = self.index.table.twins(node).filter(|&twin| twin != row && self.settled.get(twin));
            self.twins.extend(twins.map(|twin| (twin, row)));
        }
    }

    /// The links of a node on a level, each once. In the place of those that lead to no node any more stand the first from
    /// behind them.
    pub fn links(&self, row: u32, level: usize, links: &mut Vec<u32>) {
        links.clear();
        let table = &self.index.table;
        let node = self.inherited.get(&row).copied().unwrap_or(row);
        if level > level_of(node) {
            return;
        }
        let mut lost = Vec::new();
        for to in table.neighbours(node, level) {
            match self.left_of(to, level) {
                Some(to) if to != row && !links.contains(&to) => links.push(to),
                Some(_) => {}
                None => lost.push(to),
            }
        }
        let most = links.len() + lost.len();
        for behind in lost.iter().flat_map(|&to| table.neighbours(to, level)) {
            if links.len() == most {
                break;
            }
            if let Some(to) = self.left_of(behind, level).filter(|to| *to != row && !links.contains(to)) {
                links.push(to);
            }
        }
    }
}

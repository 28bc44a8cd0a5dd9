//! Linking rows into the graph (Algorithm 1), many at a time and without the lock that guards the changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::block::Table;
use super::graph::{Enter, Graph, View};
use super::params::{EF_CONSTRUCTION, M, M0, NEW_M0, NONE, level_of};
use super::scratch::{Found, Scratch};
use super::select::select;
use crate::error::Error;
use crate::index::kernels::Level;

/// An equal row is among so many nearest: only one with a longer code vector can be nearer.
const TWIN_CANDIDATES: usize = 8;

/// Rows to be linked, and all that is needed to do so.
pub struct Linking {
    pub(super) table: Table,
    pub(super) graph: Arc<Graph>,
    pub(super) kernels: Level,
    pub(super) rows: Vec<u32>,
}

impl Linking {
    /// Link them all. Searches go on meanwhile and find each row as soon as others link to it.
    pub fn run(&self, threads: usize) -> Result<(), Error> {
        in_threads(threads, self.rows.len(), |scratch, at| link(self.view(), self.rows[at], scratch))
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn view(&self) -> View<'_> {
        View { table: &self.table, graph: &self.graph, kernels: self.kernels }
    }
}

/// Do `work` for every number below `len`, in threads that take the next one when they are done.
pub(super) fn in_threads(threads: usize, len: usize, work: impl Fn(&mut Scratch, usize) + Sync) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut scratch = Scratch::default();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= len {
                break;
            }
            work(&mut scratch, at);
        }
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(len)).map(|_| scope.spawn(worker)).collect();
        worker();
        others.into_iter().try_for_each(|other| other.join().map_err(|_| Error::Broken))
    })
}

fn link(view: View<'_>, row: u32, scratch: &mut Scratch) {
    let level = level_of(row);
    let mut enter = view.graph.enter();
    // Who becomes the new top does so alone.
    let growing = enter.is_none_or(|enter| level > enter.level).then(|| view.graph.lock_growing());
    if growing.is_some() {
        enter = view.graph.enter();
    }
    if let Some(enter) = enter {
        let (twin, chosen) = choose(view, row, level, enter, scratch);
        if let Some(node) = twin {
            let _writing = view.graph.lock_links(node);
            view.table.add_twin(node, row);
            return;
        }
        connect(view, row, &chosen);
    }
    if growing.is_some() && enter.is_none_or(|enter| level > enter.level) {
        view.graph.set_enter(Some(Enter { row, level }));
    }
}

/// Find the links of one level anew, for a node that lost them all.
pub(super) fn relink(view: View<'_>, row: u32, level: usize, scratch: &mut Scratch) {
    let Some(enter) = view.graph.enter() else { return };
    if let Some(links) = choose(view, row, level_of(row), enter, scratch).1.get(level) {
        for &neighbour in links {
            add_link(view, row, neighbour, level);
            add_link(view, neighbour, row, level);
        }
    }
}

/// The node that is equal to a row, if one was found; the links of the row on each of its levels, from 0 up.
fn choose(view: View<'_>, row: u32, level: usize, enter: Enter, scratch: &mut Scratch) -> (Option<u32>, Vec<Vec<u32>>) {
    let probe = view.table.probe(row);
    let top = level.min(enter.level);
    let start = view.descend(&probe, enter, top);
    let mut chosen = vec![Vec::new(); top + 1];
    let mut starts = vec![start];
    for level in (0..=top).rev() {
        view.begin(starts[0], EF_CONSTRUCTION, scratch);
        for &(row, cosine) in &starts[1..] {
            scratch.visited.insert(row);
            scratch.pool.insert(row, cosine);
        }
        view.search_layer(&probe, level, scratch);
        if level == 0 {
            view.graph.note_effort(scratch.evaluations, scratch.pool.found().len());
        }
        let found: Vec<Found> = scratch
            .pool
            .found()
            .iter()
            .filter(|found| found.row != row && view.table.owner(found.row).is_some())
            .copied()
            .collect();
        let twin = found.iter().take(TWIN_CANDIDATES).find(|found| view.table.are_equal(found.row, row));
        if let Some(twin) = twin {
            return (Some(twin.row), chosen);
        }
        let m = if level == 0 { NEW_M0 } else { M };
        chosen[level] = select(view, &found, m, M / 2);
        starts = scratch.pool.found().iter().map(|found| (found.row, found.cosine)).collect();
    }
    (None, chosen)
}

/// The row's own links on all levels come first: who finds it must be able to go on from it.
fn connect(view: View<'_>, row: u32, chosen: &[Vec<u32>]) {
    for (level, links) in chosen.iter().enumerate() {
        view.table.set_links(row, level, links);
    }
    for (level, links) in chosen.iter().enumerate() {
        links.iter().for_each(|&neighbour| add_link(view, neighbour, row, level));
    }
}

/// Let `from` link to `to`. A full list is chosen anew from what it has and the new one.
pub(super) fn add_link(view: View<'_>, from: u32, to: u32, level: usize) {
    let _writing = view.graph.lock_links(from);
    let list = view.table.links(from, level);
    for link in list {
        let there = link.load(Ordering::Relaxed);
        if there == to {
            return;
        }
        if there == NONE {
            link.store(to, Ordering::Relaxed);
            return;
        }
    }
    let mut rows = [NONE; M0 + 1];
    rows[0] = to;
    view.table.neighbours(from, level).zip(&mut rows[1..]).for_each(|(link, place)| *place = link);
    let candidates = ranked(view, from, &rows[..list.len() + 1]);
    view.table.set_links(from, level, &select(view, &candidates, list.len(), list.len() / 2));
}

/// Rows by their cosine to a node, best first.
pub(super) fn ranked(view: View<'_>, node: u32, rows: &[u32]) -> Vec<Found> {
    let probe = view.table.probe(node);
    let mut ranked = Vec::with_capacity(rows.len());
    for part in rows.chunks(M0) {
        let mut batch = super::scratch::Batch::default();
        part.iter().for_each(|&row| batch.push(row));
        view.score(&probe, &mut batch);
        ranked.extend(batch.iter().map(|(row, cosine)| Found::new(row, cosine)));
    }
    ranked.sort_by(|a, b| b.cosine.total_cmp(&a.cosine));
    ranked
}

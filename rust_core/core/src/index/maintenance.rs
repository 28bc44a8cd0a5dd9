//! What keeps a graph index fast and small, done behind the searches: linking the tail, leading links around dead rows,
//! and giving back the block they leave nearly empty.

use std::sync::{Mutex, RwLock};

use super::Vectors;
use super::hnsw::{HnswIndex, Repair};
use crate::error::Error;
use crate::limits::MAX_MAINTENANCE_THREADS;

/// Rows that pass from hand to hand under the index's lock at once: a few microseconds.
const ROWS_PER_LOCK: usize = 1024;
/// Repair begins when one in so many rows of the graph is dead: a namespace that churns takes little more memory than one
/// built anew, and looking at all nodes for that many costs little beside leading links around them.
const REPAIR_SHARE: usize = 50;

/// What one call did, and what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Rows linked into the graph.
    pub linked: usize,
    /// Dead rows taken out of it.
    pub repaired: usize,
    /// Rows to be linked and nodes to be looked at: call again.
    pub left: usize,
}

/// The maintenance of one index. One thread at a time does it; another waits.
#[derive(Default)]
pub struct Maintenance {
    /// A repair that is not finished.
    repair: Mutex<Option<Repair>>,
}

impl Maintenance {
    /// Link at most `max_rows` rows of the tail and look at no more nodes for repair, in `threads` threads. `vectors` picks
    /// the index out of what the lock guards, which is held for a few microseconds at a time.
    pub fn run<S>(
        &self,
        state: &RwLock<S>,
        vectors: fn(&mut S) -> &mut Vectors,
        max_rows: usize,
        threads: usize,
    ) -> Result<Work, Error> {
        if !(1..=MAX_MAINTENANCE_THREADS).contains(&threads) {
            return Err(Error::OutOfRange { what: "threads", bounds: "between 1 and 64" });
        }
        let mut repair = self.repair.lock().map_err(|_| Error::Broken)?;
        let guarded = Guarded { state, vectors };
        let linked = link(&guarded, max_rows, threads)?;
        if repair.is_none() {
            let damage = guarded.with(|graph| {
                let counts = graph.counts();
                let worth_it = (counts.dead - counts.anchors) * REPAIR_SHARE > counts.linked || graph.can_free_block();
                worth_it.then(|| graph.damage())
            })?;
            *repair = damage.flatten().map(|damage| damage.assess());
        }
        let repaired = mend(&guarded, &mut repair, max_rows, threads)?;
        if repair.is_none() {
            guarded.with(|graph| if graph.counts().tail == 0 { graph.compact(ROWS_PER_LOCK) } else { 0 })?;
        }
        let waits = |graph: &mut HnswIndex| graph.counts().tail + usize::from(graph.can_free_block());
        let waiting = guarded.with(waits)?.unwrap_or(0);
        Ok(Work { linked, repaired, left: waiting + repair.as_ref().map_or(0, |repair| repair.left()) })
    }
}

struct Guarded<'a, S> {
    state: &'a RwLock<S>,
    vectors: fn(&mut S) -> &mut Vectors,
}

impl<S> Guarded<'_, S> {
    /// None when there is no graph.
    fn with<T>(&self, work: impl FnOnce(&mut HnswIndex) -> T) -> Result<Option<T>, Error> {
        let mut state = self.state.write().map_err(|_| Error::Broken)?;
        Ok((self.vectors)(&mut state).graph_mut().map(work))
    }
}

fn link<S>(guarded: &Guarded<'_, S>, max_rows: usize, threads: usize) -> Result<usize, Error> {
    let mut linked = 0;
    while linked < max_rows {
        let part = ROWS_PER_LOCK.min(max_rows - linked);
        let Some(linking) = guarded.with(|graph| graph.claim(part))?.filter(|linking| !linking.is_empty()) else {
            break;
        };
        linking.run(threads)?;
        guarded.with(|graph| graph.linked(&linking))?;
        linked += linking.len();
    }
    Ok(linked)
}

fn mend<S>(
    guarded: &Guarded<'_, S>,
    pending: &mut Option<Repair>,
    max_nodes: usize,
    threads: usize,
) -> Result<usize, Error> {
    let Some(repair) = pending else { return Ok(0) };
    guarded.with(|graph| graph.refresh(repair))?;
    repair.run(max_nodes, threads)?;
    if repair.left() > 0 {
        return Ok(0);
    }
    guarded.with(|graph| graph.retire(repair))?;
    repair.wipe();
    let rows = repair.rows();
    *pending = None;
    for part in rows.chunks(ROWS_PER_LOCK) {
        guarded.with(|graph| graph.release(part))?;
    }
    Ok(rows.len())
}

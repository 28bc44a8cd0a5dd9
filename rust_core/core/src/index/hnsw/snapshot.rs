//! The graph in a snapshot: owners of all row numbers, then of the living rows what each is in the graph, scales and codes,
//! then the graph: twins, the enter point, links.
//!
//! Rows keep their numbers, because levels depend on them; numbers without a living row are free. Nothing of the dead is
//! written: their vectors have been deleted. A link to a dead node becomes one to a node behind it, and what the walk then
//! cannot reach is written as waiting for being linked.

use std::cmp::Reverse;

use super::HnswIndex;
use super::block::Owner;
use super::graph::Enter;
use super::params::{EF_CONSTRUCTION, M, M0, NONE, level_of};
use crate::bitmap::Bitmap;
use crate::index::kernels::CODE_ALIGN;
use crate::index::quantize::Coded;
use crate::index::snapshot::{LENGTH_TOLERANCE, MAX_SCALE};
use crate::limits::MAX_WINDOWS;
use crate::snapshot::{Error, Reader, Writer, corrupt};

mod sound;

use sound::Sound;

/// What a row is.
const WAITING: u8 = 0;
const NODE: u8 = 1;
const TWIN: u8 = 2;

/// Walks that tell what a search costs here: a few milliseconds.
const EFFORT_SAMPLES: usize = 32;

/// Numbers are packed with a bit beside them.
const MAX_ROWS: usize = (1 << 31) - 1;

impl HnswIndex {
    /// What `decode` reads. Rows may be linked meanwhile.
    pub(crate) fn encode(&self, out: &mut Writer) {
        let end = self.live.iter().last().map_or(0, |row| row + 1);
        let rows = || self.live.iter();
        let sound = Sound::of(self);
        let bytes_each = 4 + 1 + 4 + self.dimensions + (1 + 4 * M0) + 4;
        out.reserve(8 + 4 * (end as usize - self.counts.live) + self.counts.live * bytes_each);
        out.count(end as usize);
        out.u32s((0..end).map(|row| self.table.owner(row).map_or(NONE, Owner::packed)));
        rows().for_each(|row| {
            out.u8(if sound.nodes.get(row) {
                NODE
            } else if sound.twins.contains_key(&row) {
                TWIN
            } else {
                WAITING
            });
        });
        out.u32s(rows().map(|row| self.table.scale(row).to_bits()));
        rows().for_each(|row| out.i8s(&self.table.codes(row)[..self.dimensions]));
        out.u32s(rows().filter_map(|row| sound.twins.get(&row).copied()));
        out.u32(sound.enter);
        let mut links = Vec::new();
        for row in sound.nodes.iter() {
            for level in 0..=level_of(row) {
                sound.links(row, level, &mut links);
                links.retain(|&to| sound.nodes.get(to));
                out.u8(links.len() as u8);
                out.u32s(links.iter().copied());
            }
        }
    }

    /// `live`: the slots there are; a row belongs to one of them.
    pub(crate) fn decode(mut reader: Reader, dimensions: usize, live: &Bitmap) -> Result<Self, Error> {
        let mut made = Self::new(dimensions);
        let end = reader.count(4)?;
        if end > MAX_ROWS {
            return corrupt("there are too many vectors");
        }
        made.make_room(end);
        let owners = made.read_owners(reader.u32s(end)?, live)?;
        let kinds = reader.bytes(owners.len())?;
        made.read_codes(&mut reader, &owners)?;
        made.read_kinds(&owners, kinds)?;
        made.read_twins(&mut reader, &owners, kinds)?;
        let nodes: Vec<u32> =
            owners.iter().zip(kinds).filter(|(_, kind)| **kind == NODE).map(|((row, _), _)| *row).collect();
        made.read_enter(&mut reader, &nodes)?;
        made.read_links(&mut reader, &nodes)?;
        reader.finish()?;
        made.measure_effort(&nodes);
        Ok(made)
    }

    /// Walks as linking would take them, from a few nodes that lie anywhere.
    fn measure_effort(&self, nodes: &[u32]) {
        let (view, Some(enter)) = (self.view(), self.graph.enter()) else { return };
        for &row in nodes.iter().step_by((nodes.len() / EFFORT_SAMPLES).max(1)) {
            let probe = self.table.probe(row);
            let start = view.descend(&probe, enter, 0);
            self.graph.with_scratch(|scratch| {
                view.begin(start, EF_CONSTRUCTION, scratch);
                view.search_layer(&probe, 0, scratch);
                self.graph.note_effort(scratch.evaluations, scratch.pool.found().len());
            });
        }
    }

    fn make_room(&mut self, end: usize) {
        while self.table.capacity() < end {
            self.table.grow();
        }
        for bits in [&mut self.live, &mut self.tail, &mut self.linked] {
            bits.grow(self.table.capacity());
        }
        self.end = end as u32;
    }

    /// The first of a slot's rows, and only that, is marked as such.
    fn read_owners(&mut self, owners: impl Iterator<Item = u32>, live: &Bitmap) -> Result<Vec<(u32, Owner)>, Error> {
        let mut found = Vec::new();
        for (row, packed) in (0..).zip(owners) {
            if packed == NONE {
                self.free.push(Reverse(row));
                continue;
            }
            let owner = Owner::unpacked(packed);
            let mut rows = self.slots.take(owner.slot);
            if !live.get(owner.slot) || owner.first != rows.is_empty() || rows.len() == MAX_WINDOWS {
                return corrupt("a vector belongs to no memory, or a memory has too many or no first one");
            }
            rows.push(row);
            self.slots.put(owner.slot, rows);
            self.live.set(row);
            found.push((row, owner));
        }
        self.counts.live = found.len();
        Ok(found)
    }

    fn read_codes(&mut self, reader: &mut Reader, owners: &[(u32, Owner)]) -> Result<(), Error> {
        let scales = reader.f32s(owners.len())?;
        let codes = reader.bytes(owners.len().saturating_mul(self.dimensions))?;
        let mut padded = vec![0i8; self.dimensions.next_multiple_of(CODE_ALIGN)];
        for ((&(row, owner), scale), codes) in owners.iter().zip(scales).zip(codes.chunks_exact(self.dimensions)) {
            padded.iter_mut().zip(codes).for_each(|(code, &byte)| *code = i8::from_le_bytes([byte]));
            check_vector(&padded[..self.dimensions], scale)?;
            // SAFETY: nobody else has the index yet.
            unsafe { self.table.write(row, owner, Coded { codes: &padded, scale }) };
        }
        Ok(())
    }

    fn read_kinds(&mut self, owners: &[(u32, Owner)], kinds: &[u8]) -> Result<(), Error> {
        for ((row, _), &kind) in owners.iter().zip(kinds) {
            match kind {
                WAITING => self.tail.set(*row),
                NODE | TWIN => self.linked.set(*row),
                _ => return corrupt("a vector is neither linked nor waiting"),
            }
        }
        self.counts.tail = kinds.iter().filter(|kind| **kind == WAITING).count();
        self.counts.linked = kinds.len() - self.counts.tail;
        Ok(())
    }

    /// Each is equal to a node. Chains are made anew, so they end.
    fn read_twins(&mut self, reader: &mut Reader, owners: &[(u32, Owner)], kinds: &[u8]) -> Result<(), Error> {
        let twins = || owners.iter().zip(kinds).filter(|(_, kind)| **kind == TWIN).map(|((row, _), _)| *row);
        for (twin, node) in twins().zip(reader.u32s(twins().count())?) {
            let is_node = owners.binary_search_by_key(&node, |(row, _)| *row).is_ok_and(|at| kinds[at] == NODE);
            if !is_node || !self.table.are_equal(node, twin) {
                return corrupt("a vector stands for one that is not equal");
            }
            self.table.add_twin(node, twin);
        }
        Ok(())
    }

    fn read_enter(&mut self, reader: &mut Reader, nodes: &[u32]) -> Result<(), Error> {
        let row = reader.u32()?;
        if nodes.is_empty() != (row == NONE) || row != NONE && nodes.binary_search(&row).is_err() {
            return corrupt("the graph has no such enter point");
        }
        self.graph.set_enter((row != NONE).then(|| Enter { row, level: level_of(row) }));
        Ok(())
    }

    /// To other nodes of the same level, each once.
    fn read_links(&mut self, reader: &mut Reader, nodes: &[u32]) -> Result<(), Error> {
        // By row: the last list that has it.
        const NO_NODE: u32 = u32::MAX;
        let mut last = vec![NO_NODE; self.end as usize];
        nodes.iter().for_each(|&row| last[row as usize] = 0);
        let mut number = 0;
        let mut links = Vec::with_capacity(M0);
        for &row in nodes {
            for level in 0..=level_of(row) {
                let count = usize::from(reader.u8()?);
                if count > if level == 0 { M0 } else { M } {
                    return corrupt("a node has too many links");
                }
                number += 1;
                links.clear();
                for to in reader.u32s(count)? {
                    let Some(last) = last.get_mut(to as usize).filter(|last| **last < number) else {
                        return corrupt("a link leads nowhere, or stands twice");
                    };
                    if to == row || level > 0 && level_of(to) < level {
                        return corrupt("a link leads to itself or to a node of a lower level");
                    }
                    *last = number;
                    links.push(to);
                }
                self.table.set_links(row, level, &links);
            }
        }
        Ok(())
    }
}

/// What codes stand for is of length 1 or 0, but for what each misses: half a step at most.
fn check_vector(codes: &[i8], scale: f32) -> Result<(), Error> {
    let squares: i32 = codes.iter().map(|&code| i32::from(code) * i32::from(code)).sum();
    let (scale_64, missed) = (f64::from(scale), (codes.len() as f64).sqrt() / 2.0);
    let length = f64::from(squares).sqrt() * scale_64;
    let of_length_1 = length == 0.0 || (length - 1.0).abs() <= missed * scale_64 + LENGTH_TOLERANCE;
    // The first is false for NaN.
    if (0.0..=MAX_SCALE).contains(&scale) && of_length_1 && !codes.contains(&i8::MIN) {
        Ok(())
    } else {
        corrupt("a vector is not of length 1")
    }
}

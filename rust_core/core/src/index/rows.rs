//! Where vectors lie: dense rows in blocks, so that growing copies nothing and a scan reads memory in order.
//!
//! A daemon has many small namespaces: few rows have no codes, which would be a fifth of the memory and save nothing, and
//! the first block has room for little more than is in it.

use super::kernels::{BLOCK_ROWS, CODE_ALIGN};
use super::quantize::{Coded, Prepared};

/// Rows up to which a float scan takes no longer than one over codes.
pub const FEW_ROWS: usize = 128;
/// The first block grows by a part of what is in it.
const GROWTH: usize = 4;

/// Whose row it is.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The memory.
    pub slot: u32,
    /// The first of its slot: stands for the slot where slots are counted.
    pub first: bool,
}

/// A block of rows as pass 1 reads it: one entry per row, codes one row after another.
pub struct Block<'a> {
    pub owners: &'a [Owner],
    /// One step of the codes.
    pub scales: &'a [f32],
    /// At least the norm of what the codes miss.
    pub residuals: &'a [f32],
    pub codes: &'a [i8],
}

/// All rows, densely numbered.
pub struct Rows {
    dimensions: usize,
    stride: usize,
    owners: Vec<Owner>,
    vectors: Vec<Vec<f32>>,
    /// None while there are few.
    coded: Option<Codes>,
    /// Rows whose number is not that of their slot.
    displaced: usize,
}

#[derive(Default)]
struct Codes {
    scales: Vec<f32>,
    residuals: Vec<f32>,
    blocks: Vec<Vec<i8>>,
}

impl Codes {
    fn push(&mut self, vector: &Prepared) {
        let (at, stride) = (self.scales.len(), vector.codes.len());
        push_row(&mut self.blocks, at, &vector.codes, stride);
        self.scales.push(vector.scale);
        self.residuals.push(vector.residual);
    }
}

/// Append a row to the last block, or to a new one.
fn push_row<T: Copy>(blocks: &mut Vec<Vec<T>>, at: usize, row: &[T], stride: usize) {
    if at / BLOCK_ROWS == blocks.len() {
        blocks.push(Vec::with_capacity(if at == 0 { 0 } else { BLOCK_ROWS * stride }));
    }
    let (block, within) = (&mut blocks[at / BLOCK_ROWS], at % BLOCK_ROWS);
    if block.len() == block.capacity() {
        block.reserve_exact((within / GROWTH + 1).min(BLOCK_ROWS - within) * stride);
    }
    block.extend_from_slice(row);
}

/// Move the last row to a place, and forget the last.
fn swap_remove_row<T: Copy>(blocks: &mut Vec<Vec<T>>, at: usize, last: usize, stride: usize) {
    let (from, to) = (last % BLOCK_ROWS * stride, at % BLOCK_ROWS * stride);
    let row = blocks[last / BLOCK_ROWS][from..from + stride].to_vec();
    blocks[at / BLOCK_ROWS][to..to + stride].copy_from_slice(&row);
    if from == 0 {
        blocks.pop();
    } else {
        blocks[last / BLOCK_ROWS].truncate(from);
    }
}

impl Rows {
    pub fn new(dimensions: usize) -> Self {
        let (owners, vectors) = Default::default();
        let stride = dimensions.next_multiple_of(CODE_ALIGN);
        Self { dimensions, stride, owners, vectors, coded: None, displaced: 0 }
    }

    /// Give every row its codes, from now on.
    pub fn make_codes(&mut self) {
        if self.coded.is_none() {
            let mut codes = Codes::default();
            for row in 0..self.len() {
                codes.push(&Prepared::of_unit(self.vector(row).to_vec()));
            }
            self.coded = Some(codes);
        }
    }

    /// Whether rows have codes: `block` and `coded` may be called.
    pub fn are_coded(&self) -> bool {
        self.coded.is_some()
    }

    /// All with codes.
    pub fn with_codes(&self) -> Self {
        let mut copy = Self::new(self.dimensions);
        copy.make_codes();
        for row in 0..self.len() {
            let owner = self.owners[row];
            copy.push(owner.slot, owner.first, &Prepared::of_unit(self.vector(row).to_vec()));
        }
        copy
    }

    fn codes(&self) -> &Codes {
        self.coded.as_ref().expect("asked for after `make_codes`")
    }

    /// Make room for a batch: exactly, as long as all fit into the first block.
    pub fn reserve(&mut self, rows: usize) {
        if self.len() + rows > BLOCK_ROWS {
            return;
        }
        self.owners.reserve_exact(rows);
        if self.vectors.is_empty() {
            self.vectors.push(Vec::new());
        }
        self.vectors[0].reserve_exact(rows * self.dimensions);
    }

    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    pub fn len(&self) -> usize {
        self.owners.len()
    }

    /// Whether row i belongs to slot i throughout: so after a load of memories with one window each.
    pub fn are_slots(&self) -> bool {
        self.displaced == 0
    }

    pub fn owner(&self, row: u32) -> Owner {
        self.owners[row as usize]
    }

    /// The block of a number, not past the last.
    pub fn block(&self, block: usize) -> Block<'_> {
        let rows = block * BLOCK_ROWS..self.len().min((block + 1) * BLOCK_ROWS);
        let codes = self.codes();
        Block {
            owners: &self.owners[rows.clone()],
            scales: &codes.scales[rows.clone()],
            residuals: &codes.residuals[rows],
            codes: &codes.blocks[block],
        }
    }

    pub fn vector(&self, at: usize) -> &[f32] {
        let start = at % BLOCK_ROWS * self.dimensions;
        &self.vectors[at / BLOCK_ROWS][start..start + self.dimensions]
    }

    /// The codes of all rows, block by block; none where rows have none.
    pub fn code_blocks(&self) -> impl Iterator<Item = &[i8]> {
        self.coded.iter().flat_map(|codes| &codes.blocks).map(Vec::as_slice)
    }

    pub fn coded(&self, at: usize) -> Coded<'_> {
        let (start, codes) = (at % BLOCK_ROWS * self.stride, self.codes());
        Coded { codes: &codes.blocks[at / BLOCK_ROWS][start..start + self.stride], scale: codes.scales[at] }
    }

    /// The number of the new row.
    pub fn push(&mut self, slot: u32, first: bool, vector: &Prepared) -> u32 {
        let at = self.len();
        if at == FEW_ROWS {
            self.make_codes();
        }
        self.displaced += usize::from(slot as usize != at);
        self.owners.push(Owner { slot, first });
        push_row(&mut self.vectors, at, &vector.unit, self.dimensions);
        if let Some(codes) = &mut self.coded {
            codes.push(vector);
        }
        at as u32
    }

    /// Take a row out; the last one moves to its place. Returns the old number of the row that moved.
    pub fn swap_remove(&mut self, at: u32) -> Option<u32> {
        let (at, last) = (at as usize, self.len() - 1);
        let displaced = |row: usize, number: usize| usize::from(self.owners[row].slot as usize != number);
        let (before, after) = if at == last {
            (displaced(at, at), 0)
        } else {
            (displaced(at, at) + displaced(last, last), displaced(last, at))
        };
        self.displaced = self.displaced - before + after;
        self.owners.swap_remove(at);
        swap_remove_row(&mut self.vectors, at, last, self.dimensions);
        if let Some(codes) = &mut self.coded {
            codes.scales.swap_remove(at);
            codes.residuals.swap_remove(at);
            swap_remove_row(&mut codes.blocks, at, last, self.stride);
        }
        (at != last).then_some(last as u32)
    }

    /// Keep no room for more.
    pub fn shrink_to_fit(&mut self) {
        self.owners.shrink_to_fit();
        self.vectors.iter_mut().for_each(Vec::shrink_to_fit);
        if let Some(codes) = &mut self.coded {
            codes.scales.shrink_to_fit();
            codes.residuals.shrink_to_fit();
            codes.blocks.iter_mut().for_each(Vec::shrink_to_fit);
        }
    }

    pub fn memory_bytes(&self) -> usize {
        let codes = self
            .coded
            .as_ref()
            .map_or(0, |codes| codes.scales.capacity() * 8 + codes.blocks.iter().map(Vec::capacity).sum::<usize>());
        self.owners.capacity() * size_of::<Owner>()
            + self.vectors.iter().map(|block| block.capacity() * 4).sum::<usize>()
            + codes
    }
}

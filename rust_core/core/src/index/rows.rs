//! Where vectors lie: dense rows in blocks, so that growing copies nothing and a scan reads memory in order.

use super::kernels::{BLOCK_ROWS, CODE_ALIGN};
use super::quantize::{Coded, Prepared};

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
    scales: Vec<f32>,
    residuals: Vec<f32>,
    vectors: Vec<Vec<f32>>,
    codes: Vec<Vec<i8>>,
    /// Rows whose number is not that of their slot.
    displaced: usize,
}

impl Rows {
    pub fn new(dimensions: usize) -> Self {
        let stride = dimensions.next_multiple_of(CODE_ALIGN);
        let (owners, scales, residuals) = Default::default();
        Self { dimensions, stride, owners, scales, residuals, vectors: Vec::new(), codes: Vec::new(), displaced: 0 }
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
        Block {
            owners: &self.owners[rows.clone()],
            scales: &self.scales[rows.clone()],
            residuals: &self.residuals[rows],
            codes: &self.codes[block],
        }
    }

    pub fn vector(&self, at: usize) -> &[f32] {
        let start = at % BLOCK_ROWS * self.dimensions;
        &self.vectors[at / BLOCK_ROWS][start..start + self.dimensions]
    }

    /// The codes of all rows, block by block.
    pub fn codes(&self) -> impl Iterator<Item = &[i8]> {
        self.codes.iter().map(Vec::as_slice)
    }

    pub fn coded(&self, at: usize) -> Coded<'_> {
        let start = at % BLOCK_ROWS * self.stride;
        Coded { codes: &self.codes[at / BLOCK_ROWS][start..start + self.stride], scale: self.scales[at] }
    }

    /// The number of the new row.
    pub fn push(&mut self, slot: u32, first: bool, vector: &Prepared) -> u32 {
        let at = self.len();
        if at.is_multiple_of(BLOCK_ROWS) {
            // The first block grows as it fills: a daemon has many small namespaces.
            let rows = if at == 0 { 0 } else { BLOCK_ROWS };
            self.vectors.push(Vec::with_capacity(rows * self.dimensions));
            self.codes.push(Vec::with_capacity(rows * self.stride));
        }
        self.displaced += usize::from(slot as usize != at);
        self.owners.push(Owner { slot, first });
        self.scales.push(vector.scale);
        self.residuals.push(vector.residual);
        self.vectors[at / BLOCK_ROWS].extend_from_slice(&vector.unit);
        self.codes[at / BLOCK_ROWS].extend_from_slice(&vector.codes);
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
        if at != last {
            let vector = self.vector(last).to_vec();
            let start = at % BLOCK_ROWS * self.dimensions;
            self.vectors[at / BLOCK_ROWS][start..start + self.dimensions].copy_from_slice(&vector);
            let from = last % BLOCK_ROWS * self.stride;
            let codes = self.codes[last / BLOCK_ROWS][from..from + self.stride].to_vec();
            let start = at % BLOCK_ROWS * self.stride;
            self.codes[at / BLOCK_ROWS][start..start + self.stride].copy_from_slice(&codes);
        }
        self.owners.swap_remove(at);
        self.scales.swap_remove(at);
        self.residuals.swap_remove(at);
        let left = last % BLOCK_ROWS;
        if left == 0 {
            self.vectors.pop();
            self.codes.pop();
        } else {
            self.vectors[last / BLOCK_ROWS].truncate(left * self.dimensions);
            self.codes[last / BLOCK_ROWS].truncate(left * self.stride);
        }
        (at != last).then_some(last as u32)
    }

    pub fn memory_bytes(&self) -> usize {
        self.owners.capacity() * (size_of::<Owner>() + 8)
            + self.vectors.iter().map(|block| block.capacity() * 4).sum::<usize>()
            + self.codes.iter().map(Vec::capacity).sum::<usize>()
    }
}

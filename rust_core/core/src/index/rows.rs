//! Where vectors lie: dense rows in blocks, so that growing copies nothing and a scan reads memory in order.

use super::kernels::{BLOCK_ROWS, CODE_ALIGN};
use super::quantize::Prepared;

/// What a scan needs to know of a row beside its codes.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The memory it belongs to.
    pub slot: u32,
    /// One step of its codes.
    pub scale: f32,
    /// At least the norm of what its codes miss.
    pub residual: f32,
    /// The first of its slot: stands for the slot where slots are counted.
    pub first: bool,
}

/// All rows, densely numbered.
pub struct Rows {
    dimensions: usize,
    stride: usize,
    rows: Vec<Row>,
    vectors: Vec<Vec<f32>>,
    codes: Vec<Vec<i8>>,
}

impl Rows {
    pub fn new(dimensions: usize) -> Self {
        let stride = dimensions.next_multiple_of(CODE_ALIGN);
        Self { dimensions, stride, rows: Vec::new(), vectors: Vec::new(), codes: Vec::new() }
    }

    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn row(&self, at: usize) -> &Row {
        &self.rows[at]
    }

    /// The rows and codes of a block.
    pub fn block(&self, block: usize) -> (&[Row], &[i8]) {
        let end = self.rows.len().min((block + 1) * BLOCK_ROWS);
        (&self.rows[block * BLOCK_ROWS..end], &self.codes[block])
    }

    pub fn vector(&self, at: usize) -> &[f32] {
        let start = at % BLOCK_ROWS * self.dimensions;
        &self.vectors[at / BLOCK_ROWS][start..start + self.dimensions]
    }

    /// The number of the new row.
    pub fn push(&mut self, slot: u32, first: bool, vector: &Prepared) -> u32 {
        let at = self.rows.len();
        if at.is_multiple_of(BLOCK_ROWS) {
            // The first block grows as it fills: a daemon has many small namespaces.
            let rows = if at == 0 { 0 } else { BLOCK_ROWS };
            self.vectors.push(Vec::with_capacity(rows * self.dimensions));
            self.codes.push(Vec::with_capacity(rows * self.stride));
        }
        self.rows.push(Row { slot, scale: vector.scale, residual: vector.residual, first });
        self.vectors[at / BLOCK_ROWS].extend_from_slice(&vector.unit);
        self.codes[at / BLOCK_ROWS].extend_from_slice(&vector.codes);
        at as u32
    }

    /// Take a row out; the last one moves to its place. Returns the old number of the row that moved.
    pub fn swap_remove(&mut self, at: u32) -> Option<u32> {
        let (at, last) = (at as usize, self.rows.len() - 1);
        if at != last {
            let vector = self.vector(last).to_vec();
            let start = at % BLOCK_ROWS * self.dimensions;
            self.vectors[at / BLOCK_ROWS][start..start + self.dimensions].copy_from_slice(&vector);
            let from = last % BLOCK_ROWS * self.stride;
            let codes = self.codes[last / BLOCK_ROWS][from..from + self.stride].to_vec();
            let start = at % BLOCK_ROWS * self.stride;
            self.codes[at / BLOCK_ROWS][start..start + self.stride].copy_from_slice(&codes);
        }
        self.rows.swap_remove(at);
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
        self.rows.capacity() * size_of::<Row>()
            + self.vectors.iter().map(|block| block.capacity() * 4).sum::<usize>()
            + self.codes.iter().map(Vec::capacity).sum::<usize>()
    }
}

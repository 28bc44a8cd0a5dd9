//! Where rows lie: blocks of a fixed size that never move, so that rows are read by who holds no lock.

use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::pages::Pages;
use super::params::{M, M0, NONE, level_of};
use crate::index::kernels::{self, CODE_ALIGN, Probe};
use crate::index::quantize::Coded;

/// Rows of a block: a multiple of the scan's.
pub const ROWS: usize = 4096;

/// Marks a row that stands in the graph by an equal one.
const TWIN: u32 = 1 << 31;
/// Ends a chain of twins.
const LAST: u32 = TWIN - 1;

/// The links of a row on level 0.
#[repr(align(128))]
struct Links0([AtomicU32; M0]);

/// A block of rows: codes, links, owners.
///
/// Codes are plain memory. They are written only while the row is free, when nobody has its number: it is in no list of
/// links, no bitmap and no slot. Everything else is atomic.
pub struct Block {
    stride: usize,
    /// The codes of all rows, then their `Links0`.
    pages: Pages,
    /// One step of the codes, bits of an f32.
    scales: Box<[AtomicU32]>,
    /// Slot and whether the row is its first, `NONE` when the row is free or dead.
    owners: Box<[AtomicU32]>,
    /// The next row with the very same codes, and `TWIN` in those that are not the first of them: see `twins`.
    twins: Box<[AtomicU32]>,
    /// Where the row's lists above level 0 begin, in lists of M.
    upper_at: Box<[u16]>,
    upper: Box<[AtomicU32]>,
}

// SAFETY: codes are written only as `write_codes` demands; the other parts are atomics or never change.
unsafe impl Sync for Block {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Block {}

impl Block {
    fn new(number: usize, stride: usize) -> Self {
        let atomics = |value: u32, len: usize| (0..len).map(|_| AtomicU32::new(value)).collect::<Box<[_]>>();
        let mut lists = 0;
        let upper_at = (0..ROWS)
            .map(|at| {
                let first = lists as u16;
                lists += level_of((number * ROWS + at) as u32);
                first
            })
            .collect();
        let pages = Pages::new(ROWS * (stride + size_of::<Links0>()));
        // SAFETY: room for `ROWS` of them begins there, aligned to 128 since `ROWS` is, and nobody else has it yet.
        unsafe { pages.first().add(ROWS * stride).write_bytes(NONE as u8, ROWS * size_of::<Links0>()) };
        Self {
            stride,
            pages,
            scales: atomics(0, ROWS),
            owners: atomics(NONE, ROWS),
            twins: atomics(LAST, ROWS),
            upper_at,
            upper: atomics(NONE, lists * M),
        }
    }

    /// The codes of some rows of the block, one after another.
    #[inline]
    fn codes(&self, first: usize, rows: usize) -> &[i8] {
        assert!(first + rows <= ROWS);
        // SAFETY: within the block as just checked; nobody writes a row that somebody reads (`write_codes`).
        unsafe {
            let first = self.pages.first().cast::<i8>().add(first * self.stride);
            slice::from_raw_parts(first, rows * self.stride)
        }
    }

    #[inline]
    fn links0(&self, at: usize) -> &Links0 {
        assert!(at < ROWS);
        // SAFETY: within the block as just checked; atomics, written with `NONE` when the block was made.
        unsafe { &*self.pages.first().add(ROWS * self.stride).cast::<Links0>().add(at) }
    }

    /// # Safety
    /// The row is free, and only this thread has its number.
    unsafe fn write_codes(&self, at: usize, codes: &[i8]) {
        assert!(at < ROWS && codes.len() == self.stride);
        // SAFETY: within the block as just checked; nobody else reads or writes the row, as the caller promises.
        unsafe {
            let first = self.pages.first().cast::<i8>().add(at * self.stride);
            first.copy_from_nonoverlapping(codes.as_ptr(), codes.len());
        }
    }

    fn memory_bytes(&self) -> usize {
        self.pages.len() + ROWS * (4 + 4 + 4 + 2) + self.upper.len() * 4
    }
}

/// The owner of a row: its slot, and whether it is the slot's first row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub slot: u32,
    pub first: bool,
}

impl Owner {
    /// As one number, which is not `NONE`.
    pub fn packed(self) -> u32 {
        self.slot << 1 | u32::from(self.first)
    }

    pub fn unpacked(packed: u32) -> Self {
        Self { slot: packed >> 1, first: packed & 1 == 1 }
    }
}

/// All blocks. A clone shares them: it is how maintenance reads rows without the lock that guards the changes.
#[derive(Clone)]
pub struct Table {
    stride: usize,
    blocks: Vec<Arc<Block>>,
}

impl Table {
    pub fn new(dimensions: usize) -> Self {
        Self { stride: dimensions.next_multiple_of(CODE_ALIGN), blocks: Vec::new() }
    }

    /// Rows there is room for.
    pub fn capacity(&self) -> usize {
        self.blocks.len() * ROWS
    }

    pub fn grow(&mut self) {
        self.blocks.push(Arc::new(Block::new(self.blocks.len(), self.stride)));
    }

    /// Give the last block back; nobody may have a number in it.
    pub fn shrink(&mut self) {
        self.blocks.pop();
    }

    #[inline]
    fn place(&self, row: u32) -> (&Block, usize) {
        (&self.blocks[row as usize / ROWS], row as usize % ROWS)
    }

    #[inline]
    pub fn codes(&self, row: u32) -> &[i8] {
        let (block, at) = self.place(row);
        block.codes(at, 1)
    }

    /// Codes of consecutive rows of one block.
    pub fn codes_of(&self, first: usize, rows: usize) -> &[i8] {
        self.blocks[first / ROWS].codes(first % ROWS, rows)
    }

    #[inline]
    pub fn scale(&self, row: u32) -> f32 {
        let (block, at) = self.place(row);
        f32::from_bits(block.scales[at].load(Ordering::Relaxed))
    }

    /// A row as a query for the walk.
    pub fn probe(&self, row: u32) -> Probe<'_> {
        Probe::new(self.codes(row), self.scale(row))
    }

    /// None when the row is dead or free.
    #[inline]
    pub fn owner(&self, row: u32) -> Option<Owner> {
        let (block, at) = self.place(row);
        let packed = block.owners[at].load(Ordering::Relaxed);
        (packed != NONE).then(|| Owner::unpacked(packed))
    }

    pub fn disown(&self, row: u32) {
        let (block, at) = self.place(row);
        block.owners[at].store(NONE, Ordering::Relaxed);
    }

    /// # Safety
    /// The row is free, and only this thread has its number.
    pub unsafe fn write(&self, row: u32, owner: Owner, vector: Coded<'_>) {
        let (block, at) = self.place(row);
        // SAFETY: the caller's promise.
        unsafe { block.write_codes(at, vector.codes) };
        block.scales[at].store(vector.scale.to_bits(), Ordering::Relaxed);
        block.owners[at].store(owner.packed(), Ordering::Relaxed);
    }

    /// Leave nothing of the vector.
    ///
    /// # Safety
    /// The row is free, and only this thread has its number.
    pub unsafe fn wipe(&self, row: u32) {
        let (block, at) = self.place(row);
        // SAFETY: the caller's promise.
        unsafe { block.write_codes(at, &vec![0; self.stride]) };
        block.scales[at].store(0, Ordering::Relaxed);
        block.twins[at].store(LAST, Ordering::Relaxed);
    }

    fn twin_link(&self, row: u32) -> &AtomicU32 {
        let (block, at) = self.place(row);
        &block.twins[at]
    }

    /// Whether the row is in the graph only through an equal one.
    pub fn is_twin(&self, row: u32) -> bool {
        self.twin_link(row).load(Ordering::Relaxed) & TWIN != 0
    }

    /// The rows with the very same codes that a node stands for. They have no links of their own: however many equal
    /// vectors there are, the graph has one node for them, and they cannot crowd out the others.
    #[inline]
    pub fn twins(&self, node: u32) -> impl Iterator<Item = u32> {
        let next = move |row: u32| {
            let next = self.twin_link(row).load(Ordering::Acquire) & !TWIN;
            (next != LAST).then_some(next)
        };
        std::iter::successors(next(node), move |&row| next(row))
    }

    /// Let a node stand for one more row. Under the lock of the node's links.
    pub fn add_twin(&self, node: u32, twin: u32) {
        let next = self.twin_link(node).load(Ordering::Relaxed);
        self.twin_link(twin).store(TWIN | next, Ordering::Relaxed);
        self.twin_link(node).store(twin | next & TWIN, Ordering::Release);
    }

    /// Leave the twins out that are in a set. Who is at one of them meanwhile still finds the way on.
    pub fn unlink_twins(&self, node: u32, gone: impl Fn(u32) -> bool) {
        let mut last = node;
        let after: Vec<u32> = self.twins(node).collect();
        for twin in after.into_iter().filter(|&twin| !gone(twin)) {
            self.point(last, twin);
            last = twin;
        }
        self.point(last, LAST);
    }

    fn point(&self, from: u32, to: u32) {
        let link = self.twin_link(from);
        link.store(to | link.load(Ordering::Relaxed) & TWIN, Ordering::Release);
    }

    pub fn are_equal(&self, a: u32, b: u32) -> bool {
        self.scale(a) == self.scale(b) && self.codes(a) == self.codes(b)
    }

    /// The list of a row's links on a level; `NONE` ends it. Its length is the most it can hold.
    #[inline]
    pub fn links(&self, row: u32, level: usize) -> &[AtomicU32] {
        let (block, at) = self.place(row);
        if level == 0 {
            return &block.links0(at).0;
        }
        debug_assert!(level <= level_of(row));
        let first = (usize::from(block.upper_at[at]) + level - 1) * M;
        &block.upper[first..first + M]
    }

    /// The links a row has on a level.
    #[inline]
    pub fn neighbours(&self, row: u32, level: usize) -> impl Iterator<Item = u32> {
        self.links(row, level).iter().map(|link| link.load(Ordering::Relaxed)).take_while(|&link| link != NONE)
    }

    /// Replace a list.
    pub fn set_links(&self, row: u32, level: usize, to: &[u32]) {
        let list = self.links(row, level);
        debug_assert!(to.len() <= list.len());
        for (at, link) in list.iter().enumerate() {
            link.store(to.get(at).copied().unwrap_or(NONE), Ordering::Relaxed);
        }
    }

    #[inline]
    pub fn prefetch_codes(&self, row: u32) {
        let (block, at) = self.place(row);
        kernels::prefetch(block.codes(at, 1));
    }

    #[inline]
    pub fn prefetch_links(&self, row: u32) {
        let (block, at) = self.place(row);
        kernels::prefetch(&block.links0(at).0);
    }

    pub fn memory_bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.memory_bytes()).sum()
    }
}

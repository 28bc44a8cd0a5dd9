//! The loops that touch every vector, once per instruction set, chosen at run time.
//!
//! The integer kernels give the same sums to the bit on every level. The float kernels add in different orders, so they
//! agree within rounding only; one process always uses one level.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use std::sync::OnceLock;

use crate::bitmap::set_bits;

/// Rows a block of codes has at most; the masks and sums of one block live on the stack.
pub const BLOCK_ROWS: usize = 512;
/// Code rows are padded with zeros to whole 512 bit registers.
pub const CODE_ALIGN: usize = 64;

/// Rows of a scan whose codes are on their way into the cache: what a filter leaves lies too far apart for the machine to
/// foresee. (Measured: a scan of every tenth of 100,000 rows takes half the time.)
pub const ROWS_AHEAD: usize = 8;

/// Rows `dot_gather` takes at most: the links of a node.
pub const MAX_GATHER: usize = 32;

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// AVX-512 F, BW and VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Plain Rust.
    Portable,
}

impl Level {
    /// The best this machine has.
    pub fn detect() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| Self::available()[0])
    }

    /// All this machine has, best first.
    pub fn available() -> Vec<Self> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni")
            {
                levels.push(Self::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                levels.push(Self::Avx2);
            }
        }
        levels.push(Self::Portable);
        levels
    }

    /// `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }
}

/// A query in two 8 bit digits, each padded to `CODE_ALIGN`. Codes lie in -127..=127.
#[derive(Clone, Debug)]
pub struct QueryCodes {
    /// The coarse digit.
    pub high: Vec<i8>,
    /// What the coarse digit left over, 254 times finer.
    pub low: Vec<i8>,
    /// Sum of `high`.
    pub high_sum: i32,
    /// Sum of `low`.
    pub low_sum: i32,
}

/// Dot products of the rows of one block with both digits of a query.
pub struct BlockDots {
    /// With the coarse digit.
    pub high: [i32; BLOCK_ROWS],
    /// With the fine digit.
    pub low: [i32; BLOCK_ROWS],
}

/// A vector in one 8 bit digit, as the walk over the graph compares it with others.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    /// Padded to `CODE_ALIGN`, in -127..=127.
    pub codes: &'a [i8],
    /// One step of a code.
    pub scale: f32,
    sum: i32,
}

impl<'a> Probe<'a> {
    /// Of codes padded to `CODE_ALIGN`.
    pub fn new(codes: &'a [i8], scale: f32) -> Self {
        Self { codes, scale, sum: codes.iter().map(|&c| i32::from(c)).sum() }
    }
}

/// Begin to load codes or links into the cache.
#[inline]
pub fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of_val(values)).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86-64; the address lies within the slice, and a prefetch does not fault anyway.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().cast::<i8>().add(line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// Dot products of a probe with rows that lie anywhere, at most `MAX_GATHER`, one per element of `out`.
#[inline]
pub fn dot_gather<'a>(level: Level, probe: &Probe<'_>, rows: impl Iterator<Item = &'a [i8]>, out: &mut [i32]) {
    let stride = probe.codes.len();
    assert!(stride.is_multiple_of(CODE_ALIGN) && out.len() <= MAX_GATHER);
    let mut firsts = [std::ptr::null(); MAX_GATHER];
    let mut count = 0;
    for (row, first) in rows.zip(&mut firsts) {
        assert!(row.len() == stride);
        *first = row.as_ptr();
        count += 1;
    }
    assert!(count == out.len());
    match level {
        // SAFETY: the level is only made when the machine has it; every pointer is the first of `stride` codes.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512::dot_gather(probe.codes, probe.sum, &firsts[..count], out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::dot_gather(probe.codes, &firsts[..count], out) },
        // SAFETY: as above.
        Level::Portable => unsafe { portable::dot_gather(probe.codes, &firsts[..count], out) },
    }
}

/// For every row of `codes` (rows of `query.high.len()` codes, at most `BLOCK_ROWS`) whose bit in `mask` is set: its dot
/// products with both digits of the query. Other entries of `out` are left as they are.
pub fn dot_codes(level: Level, codes: &[i8], query: &QueryCodes, mask: &[u64], out: &mut BlockDots) {
    let stride = query.high.len();
    assert!(stride.is_multiple_of(CODE_ALIGN) && stride > 0 && query.low.len() == stride);
    let rows = (codes.len() / stride).min(BLOCK_ROWS);
    assert!(mask.iter().enumerate().all(|(at, word)| {
        let left = rows.saturating_sub(at * 64);
        left >= 64 || word >> left == 0
    }));
    match level {
        // SAFETY: the level is only made when the machine has it (`available`); the asserts above bound every read.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512::dot_codes(codes, query, mask, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::dot_codes(codes, query, mask, out) },
        Level::Portable => portable::dot_codes(codes, query, mask, out),
    }
}

/// The rows whose bit is set, ascending. At most `BLOCK_ROWS` are.
fn list_rows<'a>(mask: &[u64], room: &'a mut [u16; BLOCK_ROWS]) -> &'a [u16] {
    let mut count = 0;
    for (at, &word) in mask.iter().enumerate() {
        for bit in set_bits(word) {
            room[count] = (at * 64 + bit as usize) as u16;
            count += 1;
        }
    }
    &room[..count]
}

/// One bit per value: whether it is at least `bar`.
pub fn at_least_f32(level: Level, values: &[f32], bar: f32) -> Vec<u64> {
    match level {
        // SAFETY: the level is only made when the machine has it.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512::at_least_f32(values, bar) },
        _ => portable::words(values, |v| v >= bar),
    }
}

/// Dot product of two vectors of equal length.
#[inline]
pub fn dot_f32(level: Level, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    match level {
        // SAFETY: the level is only made when the machine has it; the lengths are equal.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512::dot_f32(a, b) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::dot_f32(a, b) },
        Level::Portable => portable::dot_f32(a, b),
    }
}

/// One bit per value: whether it equals `wanted`.
pub fn equal_u32(level: Level, values: &[u32], wanted: u32) -> Vec<u64> {
    match level {
        // SAFETY: the level is only made when the machine has it.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512::equal_u32(values, wanted) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::equal_u32(values, wanted) },
        Level::Portable => portable::words(values, |v| v == wanted),
    }
}

/// One bit per value: whether it lies in `low..=high`.
pub fn between_i64(level: Level, values: &[i64], low: i64, high: i64) -> Vec<u64> {
    match level {
        // SAFETY: the level is only made when the machine has it.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512::between_i64(values, low, high) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::between_i64(values, low, high) },
        Level::Portable => portable::words(values, |v| low <= v && v <= high),
    }
}

/// One bit per value: whether the test holds.
pub fn test_each<T: Copy>(values: &[T], test: impl Fn(T) -> bool) -> Vec<u64> {
    portable::words(values, test)
}

#[cfg(test)]
mod tests;

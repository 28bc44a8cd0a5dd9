//! Plain Rust: the reference the other levels are tested against.

use super::{BlockDots, QueryCodes};
use crate::bitmap::set_bits;

pub fn dot_codes(codes: &[i8], query: &QueryCodes, mask: &[u64], out: &mut BlockDots) {
    let stride = query.high.len();
    for (at, &word) in mask.iter().enumerate() {
        for bit in set_bits(word) {
            let row = at * 64 + bit as usize;
            let codes = &codes[row * stride..(row + 1) * stride];
            out.high[row] = dot_i8(codes, &query.high);
            out.low[row] = dot_i8(codes, &query.low);
        }
    }
}

/// # Safety
/// Every pointer is the first of as many codes as the probe has.
pub unsafe fn dot_gather(probe: &[i8], rows: &[*const i8], out: &mut [i32]) {
    for (&row, out) in rows.iter().zip(out) {
        // SAFETY: the caller's promise.
        *out = dot_i8(unsafe { std::slice::from_raw_parts(row, probe.len()) }, probe);
    }
}

fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

/// Sixteen running sums, so that the compiler may use vector registers.
pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0f32; LANES];
    let (a_lanes, b_lanes) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_lanes.remainder().iter().zip(b_lanes.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_lanes.zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + tail
}

#[inline(always)]
pub fn words<T: Copy>(values: &[T], test: impl Fn(T) -> bool) -> Vec<u64> {
    values
        .chunks(64)
        .map(|chunk| chunk.iter().enumerate().fold(0, |word, (bit, &value)| word | u64::from(test(value)) << bit))
        .collect()
}

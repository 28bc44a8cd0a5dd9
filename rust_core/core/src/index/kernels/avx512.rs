//! AVX-512 F, BW and VNNI.

use std::arch::x86_64::*;

use super::{QueryCodes, portable};
use crate::bitmap::set_bits;

/// # Safety
/// AVX-512 F, BW, VNNI; rows, mask and `out` as `super::dot_codes` asserts.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub unsafe fn dot_codes(codes: &[i8], query: &QueryCodes, mask: &[u64], out: &mut [(i32, i32)]) {
    let stride = query.high.len();
    for (at, &word) in mask.iter().enumerate() {
        for bit in set_bits(word) {
            let row = at * 64 + bit as usize;
            // SAFETY: the caller made sure that `row` is a whole row of `codes`.
            out[row] = unsafe { dot_row(codes.as_ptr().add(row * stride), query) };
        }
    }
}

/// `vpdpbusd` needs one unsigned side: x + 128 (a flipped top bit), and 128 times the sum of the query is taken off again.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn dot_row(row: *const i8, query: &QueryCodes) -> (i32, i32) {
    let top_bit = _mm512_set1_epi8(i8::MIN);
    let (mut high, mut low) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for at in (0..query.high.len()).step_by(64) {
        // SAFETY: all three have `query.high.len()` codes, a multiple of 64.
        let (x, h, l) = unsafe {
            (
                _mm512_loadu_si512(row.add(at).cast()),
                _mm512_loadu_si512(query.high.as_ptr().add(at).cast()),
                _mm512_loadu_si512(query.low.as_ptr().add(at).cast()),
            )
        };
        let x = _mm512_xor_si512(x, top_bit);
        high = _mm512_dpbusd_epi32(high, x, h);
        low = _mm512_dpbusd_epi32(low, x, l);
    }
    (_mm512_reduce_add_epi32(high) - 128 * query.high_sum, _mm512_reduce_add_epi32(low) - 128 * query.low_sum)
}

/// # Safety
/// AVX-512 F; equal lengths.
#[target_feature(enable = "avx512f")]
pub unsafe fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [_mm512_setzero_ps(); 4];
    let whole = a.len() / 64 * 64;
    for at in (0..whole).step_by(64) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: at + 64 <= whole <= both lengths.
            let (x, y) = unsafe {
                (_mm512_loadu_ps(a.as_ptr().add(at + lane * 16)), _mm512_loadu_ps(b.as_ptr().add(at + lane * 16)))
            };
            *sum = _mm512_fmadd_ps(x, y, *sum);
        }
    }
    let sum = _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
    _mm512_reduce_add_ps(sum) + portable::dot_f32(&a[whole..], &b[whole..])
}

/// # Safety
/// AVX-512 F.
#[target_feature(enable = "avx512f")]
pub unsafe fn equal_u32(values: &[u32], wanted: u32) -> Vec<u64> {
    let wanted_lanes = _mm512_set1_epi32(wanted.cast_signed());
    let mut words = Vec::with_capacity(values.len().div_ceil(64));
    let chunks = values.chunks_exact(64);
    let tail = chunks.remainder();
    for chunk in chunks {
        let mut word = 0u64;
        for part in 0..4 {
            // SAFETY: a chunk has 64 values.
            let v = unsafe { _mm512_loadu_si512(chunk.as_ptr().add(part * 16).cast()) };
            word |= u64::from(_mm512_cmpeq_epi32_mask(v, wanted_lanes)) << (part * 16);
        }
        words.push(word);
    }
    words.extend(portable::words(tail, |v| v == wanted));
    words
}

/// # Safety
/// AVX-512 F.
#[target_feature(enable = "avx512f")]
pub unsafe fn between_i64(values: &[i64], low: i64, high: i64) -> Vec<u64> {
    let (low_lanes, high_lanes) = (_mm512_set1_epi64(low), _mm512_set1_epi64(high));
    let mut words = Vec::with_capacity(values.len().div_ceil(64));
    let chunks = values.chunks_exact(64);
    let tail = chunks.remainder();
    for chunk in chunks {
        let mut word = 0u64;
        for part in 0..8 {
            // SAFETY: a chunk has 64 values.
            let v = unsafe { _mm512_loadu_si512(chunk.as_ptr().add(part * 8).cast()) };
            let inside = _mm512_cmpge_epi64_mask(v, low_lanes) & _mm512_cmple_epi64_mask(v, high_lanes);
            word |= u64::from(inside) << (part * 8);
        }
        words.push(word);
    }
    words.extend(portable::words(tail, |v| low <= v && v <= high));
    words
}

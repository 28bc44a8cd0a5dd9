//! AVX2 and FMA.

use std::arch::x86_64::*;

use super::{BlockDots, QueryCodes, portable};
use crate::bitmap::set_bits;

/// # Safety
/// AVX2; rows, mask and `out` as `super::dot_codes` asserts.
#[target_feature(enable = "avx2")]
pub unsafe fn dot_codes(codes: &[i8], query: &QueryCodes, mask: &[u64], out: &mut BlockDots) {
    let stride = query.high.len();
    for (at, &word) in mask.iter().enumerate() {
        for bit in set_bits(word) {
            let row = at * 64 + bit as usize;
            // SAFETY: the caller made sure that `row` is a whole row of `codes`.
            (out.high[row], out.low[row]) = unsafe { dot_row(codes.as_ptr().add(row * stride), query) };
        }
    }
}

/// `vpmaddubsw` needs one unsigned side and saturates at 16 bits: |x| times q with the sign of x stays within
/// 2 * 127 * 127 = 32,258 because codes never reach -128.
#[target_feature(enable = "avx2")]
unsafe fn dot_row(row: *const i8, query: &QueryCodes) -> (i32, i32) {
    let ones = _mm256_set1_epi16(1);
    let (mut high, mut low) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    for at in (0..query.high.len()).step_by(32) {
        // SAFETY: all three have `query.high.len()` codes, a multiple of 32.
        let (x, h, l) = unsafe {
            (
                _mm256_loadu_si256(row.add(at).cast()),
                _mm256_loadu_si256(query.high.as_ptr().add(at).cast()),
                _mm256_loadu_si256(query.low.as_ptr().add(at).cast()),
            )
        };
        let magnitude = _mm256_abs_epi8(x);
        let h = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(h, x));
        let l = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(l, x));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(h, ones));
        low = _mm256_add_epi32(low, _mm256_madd_epi16(l, ones));
    }
    (sum_i32(high), sum_i32(low))
}

/// # Safety
/// AVX2; every pointer is the first of as many codes as the probe has, a multiple of 32.
#[target_feature(enable = "avx2")]
pub unsafe fn dot_gather(probe: &[i8], rows: &[*const i8], out: &mut [i32]) {
    let ones = _mm256_set1_epi16(1);
    for (&row, out) in rows.iter().zip(out) {
        let mut sum = _mm256_setzero_si256();
        for at in (0..probe.len()).step_by(32) {
            // SAFETY: both have `probe.len()` codes.
            let (x, q) =
                unsafe { (_mm256_loadu_si256(row.add(at).cast()), _mm256_loadu_si256(probe.as_ptr().add(at).cast())) };
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(q, x));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
        }
        *out = sum_i32(sum);
    }
}

#[target_feature(enable = "avx2")]
fn sum_i32(v: __m256i) -> i32 {
    let half = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let half = _mm_add_epi32(half, _mm_shuffle_epi32::<0b00_00_11_10>(half));
    _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32::<0b00_00_00_01>(half)))
}

/// # Safety
/// AVX2 and FMA; equal lengths.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [_mm256_setzero_ps(); 4];
    let whole = a.len() / 32 * 32;
    for at in (0..whole).step_by(32) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: at + 32 <= whole <= both lengths.
            let (x, y) = unsafe {
                (_mm256_loadu_ps(a.as_ptr().add(at + lane * 8)), _mm256_loadu_ps(b.as_ptr().add(at + lane * 8)))
            };
            *sum = _mm256_fmadd_ps(x, y, *sum);
        }
    }
    let v = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
    let half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    let sum = _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
    sum + portable::dot_f32(&a[whole..], &b[whole..])
}

/// # Safety
/// AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn equal_u32(values: &[u32], wanted: u32) -> Vec<u64> {
    let wanted_lanes = _mm256_set1_epi32(wanted.cast_signed());
    let mut words = Vec::with_capacity(values.len().div_ceil(64));
    let chunks = values.chunks_exact(64);
    let tail = chunks.remainder();
    for chunk in chunks {
        let mut word = 0u64;
        for part in 0..8 {
            // SAFETY: a chunk has 64 values.
            let v = unsafe { _mm256_loadu_si256(chunk.as_ptr().add(part * 8).cast()) };
            let equal = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(v, wanted_lanes)));
            word |= u64::from(equal.cast_unsigned()) << (part * 8);
        }
        words.push(word);
    }
    words.extend(portable::words(tail, |v| v == wanted));
    words
}

/// # Safety
/// AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn between_i64(values: &[i64], low: i64, high: i64) -> Vec<u64> {
    let (low_lanes, high_lanes) = (_mm256_set1_epi64x(low), _mm256_set1_epi64x(high));
    let mut words = Vec::with_capacity(values.len().div_ceil(64));
    let chunks = values.chunks_exact(64);
    let tail = chunks.remainder();
    for chunk in chunks {
        let mut word = 0u64;
        for part in 0..16 {
            // SAFETY: a chunk has 64 values.
            let v = unsafe { _mm256_loadu_si256(chunk.as_ptr().add(part * 4).cast()) };
            let outside = _mm256_or_si256(_mm256_cmpgt_epi64(low_lanes, v), _mm256_cmpgt_epi64(v, high_lanes));
            let outside = _mm256_movemask_pd(_mm256_castsi256_pd(outside));
            word |= u64::from(!outside.cast_unsigned() & 0xF) << (part * 4);
        }
        words.push(word);
    }
    words.extend(portable::words(tail, |v| low <= v && v <= high));
    words
}

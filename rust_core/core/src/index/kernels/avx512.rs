//! AVX-512 F, BW and VNNI.

use std::arch::x86_64::*;

use super::{BLOCK_ROWS, BlockDots, QueryCodes, ROWS_AHEAD, list_rows, portable, prefetch};

/// # Safety
/// AVX-512 F, BW, VNNI; rows, mask and `out` as `super::dot_codes` asserts.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub unsafe fn dot_codes(codes: &[i8], query: &QueryCodes, mask: &[u64], out: &mut BlockDots) {
    let stride = query.high.len();
    let mut listed = [0; BLOCK_ROWS];
    let listed = list_rows(mask, &mut listed);
    let (fours, rest) = listed.as_chunks::<4>();
    let rest = rest.last().map(|&last| std::array::from_fn(|at| rest.get(at).copied().unwrap_or(last)));
    for (number, rows) in fours.iter().chain(&rest).enumerate() {
        for &ahead in listed.iter().skip(4 * number + ROWS_AHEAD).take(4) {
            prefetch(&codes[usize::from(ahead) * stride..][..stride]);
        }
        // SAFETY: the caller made sure that every row with a set bit is a whole row of `codes`.
        let dots = unsafe { dot_rows(rows.map(|row| codes.as_ptr().add(usize::from(row) * stride)), query) };
        for (&row, dots) in rows.iter().zip(dots) {
            (out.high[usize::from(row)], out.low[usize::from(row)]) = dots;
        }
    }
}

/// Four rows at a time, so that the query is read once for all of them and the sums do not wait for each other.
///
/// `vpdpbusd` needs one unsigned side: x + 128 (a flipped top bit), and 128 times the sum of the query is taken off again.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn dot_rows(rows: [*const i8; 4], query: &QueryCodes) -> [(i32, i32); 4] {
    let stride = query.high.len();
    let top_bit = _mm512_set1_epi8(i8::MIN);
    let (mut highs, mut lows) = ([_mm512_setzero_si512(); 4], [_mm512_setzero_si512(); 4]);
    for at in (0..stride).step_by(64) {
        // SAFETY: both digits have `stride` codes, a multiple of 64.
        let (high, low) = unsafe {
            (
                _mm512_loadu_si512(query.high.as_ptr().add(at).cast()),
                _mm512_loadu_si512(query.low.as_ptr().add(at).cast()),
            )
        };
        for (row, (high_sum, low_sum)) in rows.iter().zip(highs.iter_mut().zip(&mut lows)) {
            // SAFETY: each row has `stride` codes.
            let x = unsafe { _mm512_loadu_si512(row.add(at).cast()) };
            let x = _mm512_xor_si512(x, top_bit);
            *high_sum = _mm512_dpbusd_epi32(*high_sum, x, high);
            *low_sum = _mm512_dpbusd_epi32(*low_sum, x, low);
        }
    }
    let (highs, lows) = (sum_four(highs, 128 * query.high_sum), sum_four(lows, 128 * query.low_sum));
    std::array::from_fn(|row| (highs[row], lows[row]))
}

/// # Safety
/// AVX-512 F, BW, VNNI; every pointer is the first of as many codes as the probe has, a multiple of 64.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub unsafe fn dot_gather(probe: &[i8], probe_sum: i32, rows: &[*const i8], out: &mut [i32]) {
    let (fours, rest) = rows.as_chunks::<4>();
    let (out_fours, out_rest) = out.as_chunks_mut::<4>();
    for (rows, out) in fours.iter().zip(out_fours) {
        // SAFETY: the caller's promise.
        *out = unsafe { dot_four(probe, probe_sum, rows) };
    }
    if let Some(&last) = rest.last() {
        let mut rows = [last; 4];
        rows[..rest.len()].copy_from_slice(rest);
        // SAFETY: the caller's promise.
        let dots = unsafe { dot_four(probe, probe_sum, &rows) };
        out_rest.copy_from_slice(&dots[..rest.len()]);
    }
}

/// Four at a time, as in `dot_rows`; the sums of the lanes are taken together.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn dot_four(probe: &[i8], probe_sum: i32, rows: &[*const i8; 4]) -> [i32; 4] {
    let top_bit = _mm512_set1_epi8(i8::MIN);
    let mut sums = [_mm512_setzero_si512(); 4];
    for at in (0..probe.len()).step_by(64) {
        // SAFETY: the probe and each row have `probe.len()` codes, a multiple of 64.
        unsafe {
            let q = _mm512_loadu_si512(probe.as_ptr().add(at).cast());
            for (row, sum) in rows.iter().zip(&mut sums) {
                let x = _mm512_xor_si512(_mm512_loadu_si512(row.add(at).cast()), top_bit);
                *sum = _mm512_dpbusd_epi32(*sum, x, q);
            }
        }
    }
    sum_four(sums, 128 * probe_sum)
}

/// The sums of the lanes of four registers, less what the flipped bits added.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn sum_four(sums: [__m512i; 4], excess: i32) -> [i32; 4] {
    let [a, b, c, d] = sums.map(|sum| {
        let half = _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum));
        _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
    });
    let sums = _mm_hadd_epi32(_mm_hadd_epi32(a, b), _mm_hadd_epi32(c, d));
    let sums = _mm_sub_epi32(sums, _mm_set1_epi32(excess));
    let mut dots = [0; 4];
    // SAFETY: four integers of 32 bits.
    unsafe { _mm_storeu_si128(dots.as_mut_ptr().cast(), sums) };
    dots
}

/// # Safety
/// AVX-512 F.
#[target_feature(enable = "avx512f")]
pub unsafe fn at_least_f32(values: &[f32], bar: f32) -> Vec<u64> {
    let bar_lanes = _mm512_set1_ps(bar);
    let mut words = Vec::with_capacity(values.len().div_ceil(64));
    let chunks = values.chunks_exact(64);
    let tail = chunks.remainder();
    for chunk in chunks {
        let mut word = 0u64;
        for part in 0..4 {
            // SAFETY: a chunk has 64 values.
            let v = unsafe { _mm512_loadu_ps(chunk.as_ptr().add(part * 16)) };
            word |= u64::from(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(v, bar_lanes)) << (part * 16);
        }
        words.push(word);
    }
    words.extend(portable::words(tail, |v| v >= bar));
    words
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

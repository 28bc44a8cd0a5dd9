//! Flat vectors in a snapshot: whose row each is, the float vectors, and their codes with scales and residuals, so that nothing
//! is quantised again. The codes' padding is not stored: it is the machine's affair.

use super::VectorIndex;
use super::flat::{FlatIndex, RowList};
use super::kernels::{BLOCK_ROWS, CODE_ALIGN};
use super::quantize::Prepared;
use super::rows::FEW_ROWS;
use crate::bitmap::Bitmap;
use crate::limits::MAX_WINDOWS;
use crate::snapshot::{Error, Reader, Writer, corrupt};

/// How far from 1 the length of a stored vector can be: 16,384 components, each rounded to float32, stay well within.
pub(super) const LENGTH_TOLERANCE: f64 = 1e-4;
/// Of a norm of what codes miss against the stored bound: far above double rounding, far below the scan's own allowance.
const RESIDUAL_TOLERANCE: f64 = 1e-9;
/// One step of a code is a 127th of the largest component, which is at most 1.
pub(super) const MAX_SCALE: f32 = (1.0 + 1e-4) / 127.0;
/// Sums in double precision go in as many chains: one alone would wait for each addition.
const LANES: usize = 8;

impl FlatIndex {
    /// What `decode` reads.
    pub(crate) fn encode(&self, out: &mut Writer) {
        let with_codes = (!self.rows.are_coded()).then(|| self.rows.with_codes());
        let all = with_codes.as_ref().unwrap_or(&self.rows);
        let (count, dimensions) = (all.len(), self.dimensions());
        let rows = || (0..count as u32).map(|row| all.owner(row));
        let blocks = || (0..count.div_ceil(BLOCK_ROWS)).map(|block| all.block(block));
        out.reserve(8 + count * row_bytes(dimensions));
        out.count(count);
        out.u32s(rows().map(|owner| owner.slot));
        rows().for_each(|owner| out.u8(owner.first.into()));
        blocks().for_each(|block| out.f32s(block.scales));
        blocks().for_each(|block| out.f32s(block.residuals));
        (0..count).for_each(|row| out.f32s(all.vector(row)));
        let codes = |codes: &[i8]| {
            codes.chunks_exact(dimensions.next_multiple_of(CODE_ALIGN)).for_each(|row| out.i8s(&row[..dimensions]))
        };
        blocks().map(|block| block.codes).for_each(codes);
    }

    /// `live`: the slots there are; a row belongs to one of them.
    pub(crate) fn decode(mut reader: Reader, dimensions: usize, live: &Bitmap) -> Result<Self, Error> {
        let count = reader.count(row_bytes(dimensions))?;
        let slots: Vec<u32> = reader.u32s(count)?.collect();
        let firsts = reader.bytes(count)?;
        let (scales, residuals) = (reader.f32s(count)?, reader.f32s(count)?);
        let units = reader.bytes(4 * count * dimensions)?.chunks_exact(4 * dimensions);
        let codes = reader.bytes(count * dimensions)?.chunks_exact(dimensions);
        reader.finish()?;
        let mut made = Self::new(dimensions);
        (made.rows_of, made.many) = row_lists(&slots, firsts, live)?;
        if count > FEW_ROWS {
            made.rows.make_codes();
        }
        let mut row = Prepared { unit: Vec::new(), codes: Vec::new(), scale: 0.0, residual: 0.0 };
        let owners = slots.into_iter().zip(firsts);
        for (((slot, first), (scale, residual)), (unit, codes)) in
            owners.zip(scales.zip(residuals)).zip(units.zip(codes))
        {
            row.unit.clear();
            row.unit.extend(unit.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            row.codes.clear();
            row.codes.extend(codes.iter().map(|&code| i8::from_le_bytes([code])));
            (row.scale, row.residual) = (scale, residual);
            check_row(&row)?;
            row.codes.resize(dimensions.next_multiple_of(CODE_ALIGN), 0);
            made.rows.push(slot, *first == 1, &row);
        }
        Ok(made)
    }
}

/// Slot, first, scale, residual, vector, codes.
fn row_bytes(dimensions: usize) -> usize {
    4 + 1 + 4 + 4 + 5 * dimensions
}

/// The rows of each slot, and how many have more than one. Exactly one of a slot's rows is its first: a scan counts slots by
/// those.
fn row_lists(slots: &[u32], firsts: &[u8], live: &Bitmap) -> Result<(Vec<RowList>, usize), Error> {
    let mut lists = vec![RowList::None; live.len()];
    let (mut seen, mut many, mut owners) = (Bitmap::zeros(live.len()), 0, 0);
    for ((row, &slot), &first) in (0..).zip(slots).zip(firsts) {
        if !live.get(slot) || first > 1 || first == 1 && seen.get(slot) {
            return corrupt("a vector belongs to no memory, or two are the first of one");
        }
        if first == 1 {
            seen.set(slot);
        }
        let list = &mut lists[slot as usize];
        *list = match list {
            RowList::None => {
                owners += 1;
                RowList::One(row)
            }
            RowList::One(one) => {
                many += 1;
                RowList::Many([*one, row].into())
            }
            RowList::Many(rows) if rows.len() < MAX_WINDOWS => {
                RowList::Many(rows.iter().copied().chain([row]).collect())
            }
            RowList::Many(_) => return corrupt("a memory has too many vectors"),
        };
    }
    if seen.count() == owners { Ok((lists, many)) } else { corrupt("a memory has vectors but no first one") }
}

/// What a scan relies on: length 1 or 0, and codes that miss no more than they say. Codes not yet padded.
fn check_row(row: &Prepared) -> Result<(), Error> {
    let length = norm(&row.unit, |x, _| x, &row.codes);
    let scale = f64::from(row.scale);
    let missed = norm(&row.unit, |x, code| x - scale * code, &row.codes);
    // Each is false for NaN.
    let of_length_1 = length == 0.0 || (length - 1.0).abs() <= LENGTH_TOLERANCE;
    let bounded = (0.0..=MAX_SCALE).contains(&row.scale) && row.residual.is_finite();
    let covered = missed <= f64::from(row.residual) + RESIDUAL_TOLERANCE;
    if of_length_1 && bounded && covered && !row.codes.contains(&i8::MIN) {
        Ok(())
    } else {
        corrupt("a vector is not of length 1, or its codes miss more than they say")
    }
}

/// Of one value per component and code.
#[inline]
fn norm(unit: &[f32], value: impl Fn(f64, f64) -> f64, codes: &[i8]) -> f64 {
    let square = |(x, code): (&f32, &i8)| {
        let value = value(f64::from(*x), f64::from(*code));
        value * value
    };
    let (units, codes) = (unit.as_chunks::<LANES>(), codes.as_chunks::<LANES>());
    let mut sums = [0f64; LANES];
    for (unit, codes) in units.0.iter().zip(codes.0) {
        for (sum, pair) in sums.iter_mut().zip(unit.iter().zip(codes)) {
            *sum += square(pair);
        }
    }
    let rest: f64 = units.1.iter().zip(codes.1).map(square).sum();
    (sums.iter().sum::<f64>() + rest).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bound that rounding stays below.
    const TINY: f32 = 1e-6;

    /// Two rows of slots below 2.
    fn refused(slots: [u32; 2], firsts: [u8; 2], scale: f32, residual: f32, second: [f32; 2]) -> bool {
        let mut out = Writer::default();
        out.count(2);
        out.u32s(slots);
        out.bytes(&firsts);
        out.f32s(&[1.0 / 127.0, scale]);
        out.f32s(&[TINY, residual]);
        out.f32s(&[1.0, 0.0]);
        out.f32s(&second);
        out.i8s(&[127, 0, 0, 127]);
        FlatIndex::decode(Reader::new(&out.into_bytes()), 2, &Bitmap::ones(2)).is_err()
    }

    #[test]
    fn rows_belong_to_memories_and_are_what_a_scan_relies_on() {
        const STEP: f32 = 1.0 / 127.0;
        assert!(!refused([0, 1], [1, 1], STEP, TINY, [0.0, 1.0]));
        assert!(!refused([0, 0], [0, 1], STEP, TINY, [0.0, 1.0]));
        assert!(refused([0, 2], [1, 1], STEP, TINY, [0.0, 1.0]), "vector of no memory");
        assert!(refused([0, 1], [1, 0], STEP, TINY, [0.0, 1.0]), "missing first window");
        assert!(refused([0, 0], [1, 1], STEP, TINY, [0.0, 1.0]), "two first windows");
        assert!(refused([0, 1], [1, 2], STEP, TINY, [0.0, 1.0]), "neither first nor not");
        // What the codes miss is covered by the bound.
        assert!(refused([0, 1], [1, 1], STEP, 9.0, [0.0, 1.5]), "vector length");
        for scale in [2.0 * STEP, -STEP, f32::NAN, f32::INFINITY] {
            assert!(refused([0, 1], [1, 1], scale, 9.0, [0.0, 1.0]), "scale bound");
        }
        assert!(refused([0, 1], [1, 1], 0.9 * STEP, 0.01, [0.0, 1.0]), "codes miss more than they say");
    }
}

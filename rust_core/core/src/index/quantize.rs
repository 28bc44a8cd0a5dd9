//! Eight bit codes with a certified error.
//!
//! For a stored unit vector x and a unit query q with codes x' and q':
//! `q.x - q'.x' = q'.(x - x') + (q - q').x`, and by Cauchy-Schwarz
//! `|q.x - q'.x'| <= |q'| |x - x'| + |q - q'| |x|`. Each norm is known exactly, so the bound is per vector, not a guess.
//! The query has two digits: reading a vector costs more than multiplying it, and with `|q - q'|` near 0 the bound halves.

use super::kernels::{BlockDots, CODE_ALIGN, QueryCodes};

const MAX_CODE: f32 = 127.0;
/// The second digit of the query counts 1/254 of the first: half a step is 127 of them.
const LOW_STEPS: f32 = 254.0;
/// Norms are computed in double precision and stored in single: round them up.
const ROUND_UP: f64 = 1.000_001;

/// A vector ready to be stored.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Length 1, or all 0.
    pub unit: Vec<f32>,
    /// Codes in -127..=127, padded with 0.
    pub codes: Vec<i8>,
    /// One step of a code.
    pub scale: f32,
    /// At least the norm of `unit - scale * codes`.
    pub residual: f32,
}

/// The codes of a vector alone.
#[derive(Clone, Copy, Debug)]
pub struct Coded<'a> {
    /// In -127..=127, padded with 0.
    pub codes: &'a [i8],
    /// One step of a code.
    pub scale: f32,
}

/// A query ready to search with.
#[derive(Clone, Debug)]
pub struct PreparedQuery {
    /// Length 1, or all 0.
    pub unit: Vec<f32>,
    /// Both digits.
    pub codes: QueryCodes,
    /// One step of the coarse digit.
    pub scale: f32,
    /// At least the norm of what the codes stand for.
    pub coded_norm: f32,
    /// At least the norm of what the codes miss.
    pub residual: f32,
}

impl Prepared {
    /// From finite components. A vector of length 0 stays 0: its cosine with everything is 0.
    pub fn new(vector: &[f32]) -> Self {
        Self::of_unit(normalize(vector))
    }

    /// From a vector of length 1, or all 0: the one that `new` made of another.
    pub fn of_unit(unit: Vec<f32>) -> Self {
        let scale = step(&unit);
        let codes: Vec<i8> = unit.iter().map(|&x| coarse(x, scale)).collect();
        let residual = norm(unit.iter().zip(&codes).map(|(&x, &c)| f64::from(x) - f64::from(scale) * f64::from(c)));
        Self { codes: padded(codes), scale, residual: round_up(residual), unit }
    }
}

impl<'a> From<&'a Prepared> for Coded<'a> {
    fn from(vector: &'a Prepared) -> Self {
        Self { codes: &vector.codes, scale: vector.scale }
    }
}

impl PreparedQuery {
    /// From finite components, as `Prepared::new`.
    pub fn new(vector: &[f32]) -> Self {
        let unit = normalize(vector);
        let scale = step(&unit);
        let high: Vec<i8> = unit.iter().map(|&x| coarse(x, scale)).collect();
        let low: Vec<i8> = unit.iter().zip(&high).map(|(&x, &high)| fine(x, high, scale)).collect();
        let coded: Vec<f64> = high
            .iter()
            .zip(&low)
            .map(|(&h, &l)| f64::from(scale) * (f64::from(h) + f64::from(l) / f64::from(LOW_STEPS)))
            .collect();
        let residual = norm(unit.iter().zip(&coded).map(|(&x, c)| f64::from(x) - c));
        let coded_norm = norm(coded.into_iter());
        let codes = QueryCodes { high_sum: sum(&high), low_sum: sum(&low), high: padded(high), low: padded(low) };
        Self { unit, codes, scale, coded_norm: round_up(coded_norm), residual: round_up(residual) }
    }

    /// The cosine that the dot products of a row's codes with both digits stand for: within the row's residual of the
    /// float one, the same on every instruction set.
    #[inline]
    pub fn cosine(&self, high: i32, low: i32, scale: f32) -> f32 {
        // Adding 0 makes -0 a 0: the two must tie.
        (self.scale * scale * (high as f32 + low as f32 * (1.0 / LOW_STEPS))).clamp(-1.0, 1.0) + 0.0
    }

    /// For every row of a block: the approximate cosine its dot products stand for, and how far that can be from the one a
    /// float scan computes.
    #[inline]
    pub fn intervals<'a>(
        &'a self,
        dots: &'a BlockDots,
        scales: &'a [f32],
        residuals: &'a [f32],
    ) -> impl Iterator<Item = (f32, f32)> + 'a {
        let fixed = self.residual + self.rounding();
        let rows = dots.high.iter().zip(&dots.low).zip(scales.iter().zip(residuals));
        rows.map(move |((&high, &low), (&scale, &residual))| {
            let cosine = self.scale * scale * (high as f32 + low as f32 * (1.0 / LOW_STEPS));
            (cosine, self.coded_norm * residual + fixed)
        })
    }

    /// Rounding of both sides: a float dot product of unit vectors is off by at most `n * 2^-24`, the approximation by a
    /// few units in the last place.
    #[inline]
    fn rounding(&self) -> f32 {
        1e-5 + self.unit.len() as f32 * (f32::EPSILON / 2.0)
    }
}

/// Double precision: the square of the largest float32 does not overflow, the smallest does not vanish.
fn normalize(vector: &[f32]) -> Vec<f32> {
    let length = norm(vector.iter().map(|&x| f64::from(x)));
    if length == 0.0 {
        return vec![0.0; vector.len()];
    }
    vector.iter().map(|&x| (f64::from(x) / length) as f32).collect()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

fn round_up(norm: f64) -> f32 {
    (norm * ROUND_UP) as f32
}

fn step(unit: &[f32]) -> f32 {
    unit.iter().fold(0f32, |most, x| most.max(x.abs())) / MAX_CODE
}

fn coarse(x: f32, scale: f32) -> i8 {
    if scale == 0.0 { 0 } else { nearest(x / scale) }
}

fn fine(x: f32, high: i8, scale: f32) -> i8 {
    if scale == 0.0 {
        return 0;
    }
    nearest((x / scale - f32::from(high)) * LOW_STEPS)
}

/// The nearest code. (`round` would be a library call per component on plain x86-64.)
#[inline]
fn nearest(x: f32) -> i8 {
    (x + 0.5f32.copysign(x)).clamp(-MAX_CODE, MAX_CODE) as i8
}

fn sum(codes: &[i8]) -> i32 {
    codes.iter().map(|&c| i32::from(c)).sum()
}

fn padded(mut codes: Vec<i8>) -> Vec<i8> {
    codes.resize(codes.len().next_multiple_of(CODE_ALIGN), 0);
    codes
}

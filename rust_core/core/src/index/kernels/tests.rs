use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn code() -> impl Strategy<Value = i8> {
    prop_oneof![-127i8..=127, Just(127), Just(-127)]
}

fn query(stride: usize) -> impl Strategy<Value = QueryCodes> {
    (vec(code(), stride), vec(code(), stride)).prop_map(|(high, low)| QueryCodes {
        high_sum: high.iter().map(|&c| i32::from(c)).sum(),
        low_sum: low.iter().map(|&c| i32::from(c)).sum(),
        high,
        low,
    })
}

fn block() -> impl Strategy<Value = (QueryCodes, Vec<i8>, usize, u64)> {
    (1usize..=7, 1usize..=64).prop_flat_map(|(width, rows)| {
        let stride = width * CODE_ALIGN;
        (
            query(stride),
            vec(code(), stride * rows),
            Just(rows),
            prop_oneof![any::<u64>(), Just(u64::MAX)].prop_map(move |m| m & (u64::MAX >> (64 - rows))),
        )
    })
}

fn untouched() -> BlockDots {
    BlockDots { high: [i32::MIN; BLOCK_ROWS], low: [i32::MAX; BLOCK_ROWS] }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn integer_kernels_are_equal_to_the_bit((query, codes, rows, mask) in block()) {
        prop_assert!(codes.len() == rows * query.high.len());
        let mut expected = untouched();
        portable::dot_codes(&codes, &query, &[mask], &mut expected);
        for level in Level::available() {
            let mut out = untouched();
            dot_codes(level, &codes, &query, &[mask], &mut out);
            prop_assert!(out.high == expected.high && out.low == expected.low, "{}", level.name());
        }
    }

    #[test]
    fn gathered_rows_give_the_same_sums((query, codes, rows, _) in block()) {
        let stride = query.high.len();
        let probe = Probe::new(&query.high, 1.0);
        let mut expected = untouched();
        portable::dot_codes(&codes, &query, &[u64::MAX >> (64 - rows)], &mut expected);
        // Backwards, and at most as many as a gather takes.
        let order: Vec<usize> = (0..rows).rev().take(MAX_GATHER).collect();
        let expected: Vec<i32> = order.iter().map(|&row| expected.high[row]).collect();
        for level in Level::available() {
            let mut out = vec![0; order.len()];
            dot_gather(level, &probe, order.iter().map(|&row| &codes[row * stride..][..stride]), &mut out);
            prop_assert_eq!(&out, &expected, "{}", level.name());
        }
    }

    #[test]
    fn float_kernels_agree_within_rounding(pairs in vec((-1f32..1.0, -1f32..1.0), 0..500)) {
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let exact: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        for level in Level::available() {
            prop_assert!((f64::from(dot_f32(level, &a, &b)) - exact).abs() < 1e-4, "{}", level.name());
        }
    }

    #[test]
    fn column_kernels_are_equal(values in vec(0u32..4, 0..300), times in vec(-3i64..4, 0..300), low in -4i64..4, high in -4i64..4) {
        for level in Level::available() {
            prop_assert_eq!(equal_u32(level, &values, 2), test_each(&values, |v| v == 2), "{}", level.name());
            let floats: Vec<f32> = times.iter().map(|&t| t as f32 / 2.0).collect();
            prop_assert_eq!(at_least_f32(level, &floats, 0.5), test_each(&floats, |v| v >= 0.5), "{}", level.name());
            prop_assert_eq!(between_i64(level, &times, low, high), test_each(&times, |v| low <= v && v <= high));
        }
    }
}

#[test]
fn extreme_codes_do_not_overflow_at_the_largest_dimensions() {
    let stride = crate::limits::MAX_DIMENSIONS;
    let sum = 127 * stride as i32;
    let query = QueryCodes { high: vec![127; stride], low: vec![-127; stride], high_sum: sum, low_sum: -sum };
    for level in Level::available() {
        let mut out = untouched();
        dot_codes(level, &vec![127; 4 * stride], &query, &[0b1111], &mut out);
        assert_eq!((out.high[3], out.low[3]), (127 * sum, -127 * sum), "{}", level.name());
        let (row, mut out) = (vec![-127; stride], [0]);
        dot_gather(level, &Probe::new(&query.high, 1.0), std::iter::once(&row[..]), &mut out);
        assert_eq!(out, [-127 * sum], "{}", level.name());
    }
}

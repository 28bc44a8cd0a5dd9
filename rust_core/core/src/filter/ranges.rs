//! Comparisons of a number with an integer or float column as ranges the column kernels test.

use super::Order;
use crate::fields::Number;

/// Integers of a column that satisfy a comparison: `low..=high`, empty when `low > high`. The least integer is left out:
/// it stands for "absent".
pub fn integer_range(order: Order, value: Number) -> (i64, i64) {
    const LEAST: i64 = i64::MIN + 1;
    const EMPTY: (i64, i64) = (1, 0);
    match (order, value) {
        (Order::Lt, Number::Integer(v)) => v.checked_sub(1).map_or(EMPTY, |high| (LEAST, high)),
        (Order::Le, Number::Integer(v)) => (LEAST, v),
        (Order::Gt, Number::Integer(v)) => v.checked_add(1).map_or(EMPTY, |low| (low.max(LEAST), i64::MAX)),
        (Order::Ge, Number::Integer(v)) => (v.max(LEAST), i64::MAX),
        (Order::Lt | Order::Le, Number::Float(v)) => match whole(v.floor()) {
            Whole::Below => EMPTY,
            Whole::Above => (LEAST, i64::MAX),
            Whole::Inside(floor) if order == Order::Lt && v == v.floor() => {
                integer_range(Order::Lt, Number::Integer(floor))
            }
            Whole::Inside(floor) => (LEAST, floor),
        },
        (Order::Gt | Order::Ge, Number::Float(v)) => match whole(v.ceil()) {
            Whole::Below => (LEAST, i64::MAX),
            Whole::Above => EMPTY,
            Whole::Inside(ceil) if order == Order::Gt && v == v.ceil() => {
                integer_range(Order::Gt, Number::Integer(ceil))
            }
            Whole::Inside(ceil) => (ceil.max(LEAST), i64::MAX),
        },
    }
}

/// The one integer that equals a number.
pub fn equal_integer(value: Number) -> Option<i64> {
    let integer = match value {
        Number::Integer(v) => v,
        Number::Float(v) => match whole(v) {
            Whole::Inside(integer) if v == v.floor() => integer,
            _ => return None,
        },
    };
    (integer != i64::MIN).then_some(integer)
}

enum Whole {
    Below,
    Inside(i64),
    Above,
}

fn whole(v: f64) -> Whole {
    // -2^63 and 2^63, both exact.
    if v < i64::MIN as f64 {
        Whole::Below
    } else if v >= -(i64::MIN as f64) {
        Whole::Above
    } else {
        Whole::Inside(v as i64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORDERS: [Order; 4] = [Order::Lt, Order::Le, Order::Gt, Order::Ge];

    fn number() -> impl Strategy<Value = Number> {
        prop_oneof![
            (-5i64..5).prop_map(Number::Integer),
            prop_oneof![Just(i64::MIN), Just(i64::MIN + 1), Just(i64::MAX), Just(i64::MAX - 1)]
                .prop_map(Number::Integer),
            (-10i32..10).prop_map(|v| Number::Float(f64::from(v) / 2.0)),
            prop_oneof![
                Just(9.223_372_036_854_775e18),
                Just(9.3e18),
                Just(-9.223_372_036_854_776e18),
                Just(-1e300),
                Just(1e300)
            ]
            .prop_map(Number::Float),
        ]
    }

    proptest! {
        #[test]
        fn ranges_hold_exactly_what_the_comparison_does(
            value in number(),
            integer in prop_oneof![-6i64..6, Just(i64::MIN + 1), Just(i64::MAX), Just(i64::MAX - 1)],
        ) {
            let ordering = Number::Integer(integer).compare(value);
            for order in ORDERS {
                let (low, high) = integer_range(order, value);
                prop_assert!(low > i64::MIN);
                prop_assert_eq!(low <= integer && integer <= high, order.holds(ordering), "{:?}", order);
            }
            prop_assert_eq!(equal_integer(value) == Some(integer), ordering.is_eq());
        }
    }
}

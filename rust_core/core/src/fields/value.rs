//! Values of metadata and of filters: strings, numbers and bools never mix.

use std::cmp::Ordering;

use crate::interner::StringId;

/// A number as JSON has it. Integers and floats compare exactly with each other.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// Fits 64 bits.
    Integer(i64),
    /// Everything else; never NaN.
    Float(f64),
}

impl Number {
    /// From JSON; integers beyond 64 bits become floats.
    pub fn from_json(number: &serde_json::Number) -> Option<Self> {
        number.as_i64().map(Self::Integer).or_else(|| number.as_f64().filter(|f| f.is_finite()).map(Self::Float))
    }

    /// Exact order, without rounding the integer.
    pub fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(&b),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (Self::Integer(a), Self::Float(b)) => integer_with_float(a, b),
            (Self::Float(a), Self::Integer(b)) => integer_with_float(b, a).reverse(),
        }
    }
}

fn integer_with_float(integer: i64, float: f64) -> Ordering {
    // 2^63 as a float: the smallest above every i64.
    const ABOVE: f64 = 9_223_372_036_854_775_808.0;
    if float >= ABOVE {
        return Ordering::Less;
    }
    if float < -ABOVE {
        return Ordering::Greater;
    }
    let whole = float.trunc();
    integer.cmp(&(whole as i64)).then(0.0.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal))
}

/// A string, number or bool; `Text` is a `String` while it is parsed and a number once it is stored.
#[derive(Clone, Debug)]
pub enum Scalar<T> {
    /// A string.
    String(T),
    /// A number.
    Number(Number),
    /// A bool: not a number here.
    Bool(bool),
}

/// A scalar as parsed.
pub type Text = Scalar<String>;

/// The value of a sparse column at one slot.
#[derive(Clone, Debug)]
pub enum Cell<T> {
    /// One value.
    One(Scalar<T>),
    /// A list, not empty.
    Many(Box<[Scalar<T>]>),
}

impl<T> Cell<T> {
    /// The values, one or many.
    pub fn values(&self) -> &[Scalar<T>] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

impl Cell<String> {
    /// The same with the strings replaced by their numbers.
    pub fn intern(&self, mut number: impl FnMut(&str) -> StringId) -> Cell<StringId> {
        let mut scalar = |value: &Scalar<String>| match value {
            Scalar::String(string) => Scalar::String(number(string)),
            Scalar::Number(n) => Scalar::Number(*n),
            Scalar::Bool(b) => Scalar::Bool(*b),
        };
        match self {
            Self::One(value) => Cell::One(scalar(value)),
            Self::Many(values) => Cell::Many(values.iter().map(scalar).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_and_floats_compare_exactly(a in any::<i64>(), b in any::<i32>(), half in any::<bool>()) {
            let float = f64::from(b) + if half { 0.5 } else { 0.0 };
            let expected = (i128::from(a) * 2).cmp(&(i128::from(b) * 2 + i128::from(half)));
            prop_assert_eq!(Number::Integer(a).compare(Number::Float(float)), expected);
            prop_assert_eq!(Number::Float(float).compare(Number::Integer(a)), expected.reverse());
        }
    }

    #[test]
    fn large_integers_are_not_rounded() {
        let float = Number::Float(9_007_199_254_740_992.0);
        assert_eq!(Number::Integer(9_007_199_254_740_993).compare(float), Ordering::Greater);
        assert_eq!(Number::Integer(i64::MAX).compare(Number::Float(9_223_372_036_854_775_808.0)), Ordering::Less);
        assert_eq!(Number::Integer(i64::MIN).compare(Number::Float(-9_223_372_036_854_775_808.0)), Ordering::Equal);
    }
}

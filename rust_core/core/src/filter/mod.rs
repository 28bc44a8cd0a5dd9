//! Filters: a small boolean language over the fields of a memory. The meaning is that of `memd/domain/filters.py`.

mod evaluate;
mod parse;
mod ranges;

pub use evaluate::{MemoryIds, evaluate};
pub use parse::parse_filter;

use crate::fields::Text;

/// What a comparison is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The id itself.
    MemoryId,
    /// Index into `STRING_FIELDS`.
    String(usize),
    /// Index into `INTEGER_FIELDS`.
    Integer(usize),
    /// A float.
    Importance,
    /// A bool.
    Pinned,
    /// A list of strings.
    Tags,
    /// A metadata key.
    Metadata(String),
}

/// A comparison that orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
}

impl Order {
    /// Whether the order of the field's value to the filter's satisfies it.
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Lt => ordering.is_lt(),
            Self::Le => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::Ge => ordering.is_ge(),
        }
    }
}

/// A parsed filter. `eq` is an `In` of one value and `ne` its negation.
#[derive(Clone, Debug)]
pub enum Filter {
    /// All hold; true when empty.
    And(Vec<Filter>),
    /// Any holds; false when empty.
    Or(Vec<Filter>),
    /// Does not hold.
    Not(Box<Filter>),
    /// The field equals one of the values; for a list, any element does.
    In(Field, Vec<Text>),
    /// The field, a single value of the same kind, stands so to the value.
    Ordered(Order, Field, Text),
    /// There is a value; for a list, at least one.
    Exists(Field),
}

#[cfg(test)]
mod tests;

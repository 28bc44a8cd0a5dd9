//! The filterable fields of memories, in columns.

mod columns;
mod parse;
mod value;

pub use columns::{BOOL_ABSENT, BOOL_FALSE, BOOL_TRUE, Columns, SparseColumn};
pub use parse::{Fields, NO_INTEGER, parse_fields};
pub use value::{Cell, Number, Scalar, Text};

/// String fields that have a column, in column order. `memory_id` is a string field too, kept by the index itself.
pub const STRING_FIELDS: [&str; 7] =
    ["user_id", "agent_id", "session_id", "source", "speaker", "supersedes", "superseded_by"];
/// The first of `STRING_FIELDS`, those a filter may name; the others are for the ranking.
pub const FILTERABLE_STRINGS: usize = 5;
/// Integer fields, in column order: times in microseconds since the epoch, and the position.
pub const INTEGER_FIELDS: [&str; 7] =
    ["event_time", "create_time", "update_time", "valid_from", "valid_to", "expire_time", "position"];

/// Places of columns that the ranking reads.
pub mod column {
    /// Of `STRING_FIELDS`.
    pub const USER_ID: usize = 0;
    /// Of `STRING_FIELDS`.
    pub const AGENT_ID: usize = 1;
    /// Of `STRING_FIELDS`.
    pub const SESSION_ID: usize = 2;
    /// Of `STRING_FIELDS`.
    pub const SPEAKER: usize = 4;
    /// Of `STRING_FIELDS`: the memory it took the place of.
    pub const SUPERSEDES: usize = 5;
    /// Of `STRING_FIELDS`: the memory that took its place.
    pub const SUPERSEDED_BY: usize = 6;
    /// Of `INTEGER_FIELDS`.
    pub const EVENT_TIME: usize = 0;
    /// Of `INTEGER_FIELDS`.
    pub const CREATE_TIME: usize = 1;
    /// Of `INTEGER_FIELDS`.
    pub const POSITION: usize = 6;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_where_their_names_say() {
        let strings = [column::USER_ID, column::AGENT_ID, column::SESSION_ID, column::SPEAKER];
        assert_eq!(strings.map(|at| STRING_FIELDS[at]), ["user_id", "agent_id", "session_id", "speaker"]);
        let versions = [column::SUPERSEDES, column::SUPERSEDED_BY];
        assert_eq!(versions.map(|at| STRING_FIELDS[at]), ["supersedes", "superseded_by"]);
        assert!(
            strings.iter().all(|at| *at < FILTERABLE_STRINGS) && versions.iter().all(|at| *at >= FILTERABLE_STRINGS)
        );
        let integers = [column::EVENT_TIME, column::CREATE_TIME, column::POSITION];
        assert_eq!(integers.map(|at| INTEGER_FIELDS[at]), ["event_time", "create_time", "position"]);
    }
}

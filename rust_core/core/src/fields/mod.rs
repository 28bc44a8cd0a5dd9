//! The filterable fields of memories, in columns.

mod columns;
mod parse;
mod value;

pub use columns::{BOOL_ABSENT, BOOL_FALSE, BOOL_TRUE, Columns, SparseColumn};
pub use parse::{Fields, NO_INTEGER, parse_fields};
pub use value::{Cell, Number, Scalar, Text};

/// String fields that have a column, in column order. `memory_id` is a string field too, kept by the index itself.
pub const STRING_FIELDS: [&str; 5] = ["user_id", "agent_id", "session_id", "source", "speaker"];
/// Integer fields, in column order: times in microseconds since the epoch, and the position.
pub const INTEGER_FIELDS: [&str; 7] =
    ["event_time", "create_time", "update_time", "valid_from", "valid_to", "expire_time", "position"];

//! Bounds of the core. They stand behind the daemon's own, stricter limits: here they keep memory and time finite
//! whatever the caller does.

/// Largest vector: far above any sentence encoder, small enough that integer dot products cannot overflow 32 bits.
pub const MAX_DIMENSIONS: usize = 16_384;
/// UTF-8 bytes of a string in a table: an id, a term, a value of a field.
pub const MAX_STRING_BYTES: usize = 12 << 20;
/// UTF-8 bytes of a memory's id or text. Folding the case of a text makes it three times as long at most.
pub const MAX_TEXT_BYTES: usize = 4 << 20;
/// Windows of one memory. The daemon cuts long texts into at most 16.
pub const MAX_WINDOWS: usize = 64;
/// UTF-8 bytes of a filter in JSON.
pub const MAX_FILTER_BYTES: usize = 1 << 20;
/// Levels of `and`, `or`, `not` in one filter: evaluation recurses.
pub const MAX_FILTER_DEPTH: usize = 32;
/// Comparisons, connectives and `in` values of one filter: each costs a pass over a column.
pub const MAX_FILTER_NODES: usize = 10_000;
/// UTF-8 bytes of the fields of one memory in JSON.
pub const MAX_FIELDS_BYTES: usize = 1 << 20;
/// Elements of `tags` or of a metadata list.
pub const MAX_LIST_VALUES: usize = 10_000;
/// Candidates a walk over the graph keeps: more would cost more than a scan of any index that fits into memory.
pub const MAX_EF: usize = 1 << 20;
/// Threads of one call of maintenance: more than the machines a daemon runs on have.
pub const MAX_MAINTENANCE_THREADS: usize = 64;

//! Numbers of the graph, by the names of the paper (Malkov and Yashunin, "Efficient and robust approximate nearest
//! neighbor search using Hierarchical Navigable Small World graphs", 2016).

/// Links a new node gets above level 0, and has at most there.
pub const M: usize = 16;
/// Links a node has at most on level 0: two cache lines.
pub const M0: usize = 2 * M;
/// Links a new node gets on level 0: with more than M the same recall takes fewer evaluations, with M0 every link back
/// would have to be chosen anew at once.
pub const NEW_M0: usize = 24;
/// Candidates a new node's links are chosen from.
pub const EF_CONSTRUCTION: usize = 200;
/// Levels above 0 at most. With one node in 16 going a level up it takes 2^32 rows to need more.
pub const MAX_LEVEL: usize = 7;
/// No row, no slot: ends a list of links.
pub const NONE: u32 = u32::MAX;

/// The level of a row. It depends on the number alone, so that the same changes build the same graph, and a number used
/// again needs the same room. One row in M goes a level up: the paper's `m_L = 1 / ln(M)`.
pub fn level_of(row: u32) -> usize {
    let mixed = (u64::from(row) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((mixed >> 32).trailing_zeros() / M.ilog2()).min(MAX_LEVEL as u32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_in_sixteen_goes_a_level_up() {
        for level in 1..4 {
            let above = (0..1_000_000).filter(|&row| level_of(row) >= level).count();
            let expected = 1_000_000 / M.pow(level as u32);
            assert!(above.abs_diff(expected) < expected / 4, "{above} rows on level {level}");
        }
    }
}

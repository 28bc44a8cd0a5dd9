//! Words that stand side by side: "Red Cross" is more than "red" and "cross".

use super::analyze::TermCounts;

/// The adjacent pairs of a text's terms, as hashes, sorted, each once. Two pairs in four thousand million are taken for
/// the same one: it costs a bonus, not a hit.
pub fn adjacent(text: &TermCounts) -> Box<[u32]> {
    let term = |at: u32| text.terms[at as usize].0.as_str();
    let mut pairs: Vec<u32> = text.order.windows(2).map(|pair| hash(term(pair[0]), term(pair[1]))).collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs.into()
}

/// A single term's.
pub fn hash_one(term: &str) -> u32 {
    hash(term, "")
}

/// FNV-1a over both terms with a separator; stable, since it may be stored.
pub fn hash(first: &str, second: &str) -> u32 {
    let bytes = first.bytes().chain([0xff]).chain(second.bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

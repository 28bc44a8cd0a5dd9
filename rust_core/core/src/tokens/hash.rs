//! The hash of the embedded token tables; the build script and the library must use the same one.

/// Low bits of a slot that hold `rank + 1`.
pub const RANK_BITS: u32 = 18;
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// 64 bit multiply-and-fold hash over 8 byte words; the length goes in first so that zero bytes count.
#[inline]
pub fn hash(bytes: &[u8]) -> u64 {
    let mut state = (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        state =
            fold(state ^ u64::from_le_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]));
    }
    let mut last = 0u64;
    for &byte in words.remainder() {
        last = last << 8 | u64::from(byte);
    }
    fold(state ^ last)
}

#[inline]
fn fold(value: u64) -> u64 {
    let product = u128::from(value ^ MULTIPLIER) * u128::from(MULTIPLIER);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The part of the hash kept in a slot beside the rank: tells most foreign tokens apart without reading their bytes.
#[inline]
pub fn tag(hash: u64) -> u32 {
    ((hash >> 32) as u32) & !((1 << RANK_BITS) - 1)
}

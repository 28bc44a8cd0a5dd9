//! Unicode classes of the pre-tokenisation patterns, from a two-stage table the build script writes with the very tables
//! of the regular expression library the reference implementation uses.

static INDEX: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/classes.index"));
static BLOCKS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/classes.blocks"));

/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`: what may start a capitalised word.
pub const UPPER: u8 = 1;
/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`: what may end a word.
pub const LOWER: u8 = 2;
/// `\p{L}`.
pub const LETTER: u8 = 4;
/// `\p{N}`.
pub const NUMBER: u8 = 8;
/// `\s`.
pub const SPACE: u8 = 16;

/// The class bits of a character; 0 for punctuation, symbols, controls and unassigned code points.
#[inline]
pub fn class_of(c: char) -> u8 {
    let code = c as usize;
    BLOCKS[INDEX[code >> 7] as usize * 128 + (code & 127)]
}

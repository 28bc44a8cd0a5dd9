//! Token bytes to rank, in tables embedded by the build script.

use super::hash::{RANK_BITS, hash, tag};

/// One embedded vocabulary. Ranks are contiguous from 0, special tokens are not part of it.
pub struct Vocabulary {
    slots: &'static [u8],
    starts: &'static [u8],
    bytes: &'static [u8],
}

macro_rules! embedded {
    ($name:literal) => {
        Vocabulary {
            slots: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".slots")),
            starts: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".starts")),
            bytes: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".bytes")),
        }
    };
}

pub static O200K_BASE: Vocabulary = embedded!("o200k_base");
pub static CL100K_BASE: Vocabulary = embedded!("cl100k_base");

#[inline]
fn read_u32(table: &[u8], at: usize) -> u32 {
    let bytes = &table[at * 4..at * 4 + 4];
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

impl Vocabulary {
    /// The rank of exactly these bytes.
    #[inline]
    pub fn rank(&self, token: &[u8]) -> Option<u32> {
        let hash = hash(token);
        let mask = self.slots.len() / 4 - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = read_u32(self.slots, at);
            if slot == 0 {
                return None;
            }
            let rank = (slot & ((1 << RANK_BITS) - 1)) - 1;
            if slot & !((1 << RANK_BITS) - 1) == tag(hash) && self.token(rank) == token {
                return Some(rank);
            }
            at = (at + 1) & mask;
        }
    }

    /// How many tokens there are.
    pub fn len(&self) -> u32 {
        (self.starts.len() / 4 - 1) as u32
    }

    /// The bytes of a rank below `len()`.
    #[inline]
    pub fn token(&self, rank: u32) -> &'static [u8] {
        &self.bytes[read_u32(self.starts, rank as usize) as usize..read_u32(self.starts, rank as usize + 1) as usize]
    }
}

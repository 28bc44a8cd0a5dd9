//! From candidates to hits: score fusion, cues, diversity, trimming, the noise rule.

mod beside;
mod candidate;
mod cues;
mod diversity;
mod fuse;
mod memory;
mod options;
mod order;

pub use candidate::{Candidate, Lent, Ranked, Traits};
pub use cues::{CueParts, Cues};
pub use options::RankingOptions;
pub use order::{Between, rank};

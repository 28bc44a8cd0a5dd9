//! From candidates to hits: score fusion, trimming, the noise rule.

mod fuse;
mod options;

pub use fuse::{Candidate, Ranked, rank};
pub use options::RankingOptions;

//! From text to terms, and from terms to scores.

mod analyze;
mod lexical;
mod stop_words;

pub use analyze::{TermCounts, analyze};
pub use lexical::{LexicalIndex, QueryTerms};

//! From text to terms, and from terms to scores.

mod analyze;
mod collection;
mod identifiers;
mod irregular;
mod lexical;
mod pairs;
mod spelling;
mod stop_words;
mod traits;

pub use analyze::{TermCounts, analyze, names_in};
pub use collection::Collection;
pub use lexical::{LexicalIndex, QueryTerms, WordOptions};
pub use pairs::{adjacent, hash as pair_hash};
pub use traits::TextTraits;

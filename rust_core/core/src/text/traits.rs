//! What a text tells about itself beside its words; computed once, when the memory is written.

mod snapshot;

use super::analyze::TermCounts;
use super::pairs::adjacent;
use crate::dates::{DayRange, mentions};

/// See the fields. All of it can be stored as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextTraits {
    /// Whether it ends with a question mark: what follows may be the answer.
    pub asks: bool,
    /// The days it speaks of, relative ones ("yesterday") resolved against the time it was said.
    pub dates: Box<[DayRange]>,
    /// Hashes of the pairs of terms that stand side by side, sorted.
    pub pairs: Box<[u32]>,
}

impl TextTraits {
    /// `said`: when, in microseconds since the epoch.
    pub fn of(text: &str, words: &TermCounts, said: Option<i64>) -> Self {
        Self { asks: asks(text), dates: mentions(text, said), pairs: adjacent(words) }
    }

    /// Estimate of the heap it holds.
    pub fn memory_bytes(&self) -> usize {
        self.dates.len() * size_of::<DayRange>() + self.pairs.len() * 4
    }
}

/// Quotation marks, brackets and emoji behind the mark do not matter.
fn asks(text: &str) -> bool {
    let last = text.chars().rev().find(|c| c.is_alphanumeric() || matches!(c, '.' | '!' | '?' | '。' | '？' | '؟'));
    matches!(last, Some('?' | '？' | '؟'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_told_by_its_end() {
        for text in ["Where?", "Really?! (why?)", "去哪里？", "\"Who?\" \u{1f642}"] {
            assert!(asks(text), "{text}");
        }
        for text in ["There.", "Why? Because!", "", "?a"] {
            assert!(!asks(text), "{text}");
        }
    }
}

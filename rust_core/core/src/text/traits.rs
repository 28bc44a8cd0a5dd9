//! What a text tells about itself beside its words; computed once, when the memory is written.

mod snapshot;

use super::analyze::TermCounts;
use super::pairs::{self, adjacent};
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
    /// Hashes of the terms written with a capital and beside no other such, sorted: "Ada", not the "Ada" of "Ada Lovelace".
    pub alone: Box<[u32]>,
}

impl TextTraits {
    /// `said`: when, in microseconds since the epoch.
    pub fn of(text: &str, words: &TermCounts, said: Option<i64>) -> Self {
        Self { asks: asks(text), dates: mentions(text, said), pairs: adjacent(words), alone: alone(words) }
    }

    /// Estimate of the heap it holds.
    pub fn memory_bytes(&self) -> usize {
        self.dates.len() * size_of::<DayRange>() + (self.pairs.len() + self.alone.len()) * 4
    }
}

/// Of two that begin the text the second counts as well: the first may have its capital from there ("Ask Ada").
fn alone(words: &TermCounts) -> Box<[u32]> {
    let single = |(at, run): (usize, &[u32])| match *run {
        [one] => Some(one),
        [first, second] if at == 0 && words.order.first() == Some(&first) => Some(second),
        _ => None,
    };
    let found = words.capitals.iter().map(|run| &**run).enumerate().filter_map(single);
    let mut hashes: Vec<u32> = found.map(|at| pairs::hash_one(&words.terms[at as usize].0)).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes.into()
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
    fn a_name_alone_is_told_from_a_part_of_another() {
        let alone = |text: &str, name: &str| {
            let traits = TextTraits::of(text, &crate::text::analyze(text), None);
            traits.alone.binary_search(&pairs::hash_one(name)).is_ok()
        };
        assert!(alone("Ada likes tea", "ada") && alone("Ask Ada", "ada") && alone("tea with Ada", "ada"));
        assert!(!alone("Ada Lovelace likes tea", "ada") && !alone("tea with Ada Lovelace", "lovelac"));
        assert!(!alone("new tea", "new") && !alone("", "ada"));
    }

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

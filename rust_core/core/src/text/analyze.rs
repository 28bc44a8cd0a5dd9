//! Terms of a text: Unicode words, lower case, without stop words, stemmed with Snowball English (Porter2).

use rustc_hash::FxHashMap;
use snowball_stemmers_rs::{Algorithm, Stemmer};
use unicode_segmentation::UnicodeSegmentation;

use super::stop_words::is_stop_word;

/// Longer words are not language (keys, hashes, base64): they are kept whole instead of stemmed.
const MAX_STEMMED_BYTES: usize = 64;

/// The terms of one text with how often each occurs, in order of first occurrence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TermCounts {
    /// Distinct terms.
    pub terms: Vec<(String, u32)>,
    /// Occurrences of all terms together: the length of the document in BM25.
    pub total: u32,
}

/// Cut a text into terms.
pub fn analyze(text: &str) -> TermCounts {
    let stemmer = Stemmer::create(Algorithm::English);
    let mut at: FxHashMap<String, usize> = FxHashMap::default();
    let mut counts = TermCounts::default();
    for word in text.unicode_words().flat_map(|word| word.split('_')) {
        let Some(term) = term(&stemmer, word) else { continue };
        counts.total += 1;
        match at.get(&term) {
            Some(&known) => counts.terms[known].1 += 1,
            None => {
                at.insert(term.clone(), counts.terms.len());
                counts.terms.push((term, 1));
            }
        }
    }
    counts
}

fn term(stemmer: &Stemmer, word: &str) -> Option<String> {
    let lower = word.to_lowercase().replace('\u{2019}', "'");
    if lower.is_empty() || is_stop_word(&lower) {
        return None;
    }
    if lower.len() > MAX_STEMMED_BYTES {
        return Some(lower);
    }
    Some(stemmer.stem(&lower).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms(text: &str) -> Vec<String> {
        analyze(text).terms.into_iter().map(|(term, _)| term).collect()
    }

    #[test]
    fn words_are_lowered_stopped_and_stemmed() {
        assert_eq!(terms("The RUNNING dogs, and the dog's bowl!"), ["run", "dog", "bowl"]);
        assert_eq!(terms("max_retry_count"), ["max", "retri", "count"]);
        assert_eq!(analyze("dog dogs Dog").terms, [("dog".to_owned(), 3)]);
        assert_eq!(analyze("the and").total, 0);
    }

    proptest! {
        #[test]
        fn any_text_has_terms_without_a_panic(text in "\\PC{0,80}") {
            let counts = analyze(&text);
            prop_assert_eq!(counts.total, counts.terms.iter().map(|(_, n)| n).sum::<u32>());
        }
    }
}

//! Terms of a text: Unicode words, lower case, without stop words, English forms brought to one (a table of irregular
//! forms, then Snowball English, Porter2). Compound words of code count whole and in parts.

use rustc_hash::FxHashMap;
use snowball_stemmers_rs::{Algorithm, Stemmer};
use unicode_segmentation::UnicodeSegmentation;

use super::identifiers::parts;
use super::irregular::base_form;
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
    /// The terms (their places in `terms`) in the order of the text; of a compound word the parts.
    pub order: Vec<u32>,
    /// By term: whether it was written like a name (upper case inside a sentence, or with "'s") or with digits.
    pub names: Vec<bool>,
    /// Words with a capital that stand side by side ("Ada Lovelace"), and those that stand alone; places in `terms`.
    pub capitals: Vec<Box<[u32]>>,
    /// By term: whether it only says when (`State::query`); empty where none does.
    pub faint: Vec<bool>,
}

/// Cut a text into terms.
pub fn analyze(text: &str) -> TermCounts {
    let mut analysis = Analysis {
        stemmer: Stemmer::create(Algorithm::English),
        at: FxHashMap::default(),
        counts: TermCounts::default(),
    };
    let mut runs = Runs::default();
    for (position, (at, word)) in text.unicode_word_indices().enumerate() {
        let name =
            word.chars().any(|c| c.is_ascii_digit() || c.is_uppercase() && (position > 0 || is_possessive(word)));
        let parts = parts(word);
        let whole = analysis.add(word.trim_matches('_'), name, !parts.is_empty());
        if parts.is_empty() {
            analysis.counts.order.extend(whole);
        }
        runs.add(text, at, word, whole.filter(|_| parts.is_empty()));
        for part in parts {
            let part = analysis.add(part, name, false);
            analysis.counts.order.extend(part);
        }
    }
    analysis.counts.capitals = runs.found.into_iter().map(Vec::into_boxed_slice).collect();
    analysis.counts
}

fn is_possessive(word: &str) -> bool {
    word.ends_with("'s") || word.ends_with("\u{2019}s")
}

/// Collects words with a capital, side by side or alone.
#[derive(Default)]
struct Runs {
    found: Vec<Vec<u32>>,
    /// Where the word before ended, when it had a capital and another may follow.
    open: Option<usize>,
}

impl Runs {
    /// The next word and where it begins; `term` is None for what is no name: a stop word, a compound of code.
    fn add(&mut self, text: &str, at: usize, word: &str, term: Option<u32>) {
        let before = self.open.take();
        let Some(term) = term.filter(|_| word.starts_with(char::is_uppercase)) else { return };
        let beside = before.is_some_and(|end| text[end..at].chars().all(char::is_whitespace));
        match self.found.last_mut().filter(|_| beside) {
            Some(run) => run.push(term),
            None => self.found.push(vec![term]),
        }
        self.open = (!is_possessive(word)).then_some(at + word.len());
    }
}

/// The words of a text in lower case without "'s", stop words left out: what names of people are compared by.
pub fn names_in(text: &str) -> Vec<String> {
    let lower = text.unicode_words().map(|word| word.to_lowercase().replace('\u{2019}', "'"));
    lower.map(|word| word.trim_end_matches("'s").to_owned()).filter(|word| !is_stop_word(word)).collect()
}

struct Analysis {
    stemmer: Stemmer,
    at: FxHashMap<String, u32>,
    counts: TermCounts,
}

impl Analysis {
    /// Count a word; its place among the terms, None for a stop word. A compound one is not stemmed.
    fn add(&mut self, word: &str, name: bool, compound: bool) -> Option<u32> {
        let term = term(&self.stemmer, word, compound)?;
        let counts = &mut self.counts;
        counts.total += 1;
        if let Some(&known) = self.at.get(&term) {
            counts.terms[known as usize].1 += 1;
            counts.names[known as usize] |= name;
            return Some(known);
        }
        let place = counts.terms.len() as u32;
        self.at.insert(term.clone(), place);
        counts.terms.push((term, 1));
        counts.names.push(name);
        Some(place)
    }
}

/// Only words of ASCII letters are taken for English: the forms of other languages are left as they are written.
fn term(stemmer: &Stemmer, word: &str, compound: bool) -> Option<String> {
    let lower = word.to_lowercase().replace('\u{2019}', "'");
    if lower.is_empty() || is_stop_word(&lower) {
        return None;
    }
    let english = lower.bytes().all(|b| b.is_ascii_lowercase() || b == b'\'');
    if compound || !english || lower.len() > MAX_STEMMED_BYTES {
        return Some(lower);
    }
    Some(stemmer.stem(base_form(&lower)).into_owned())
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
        assert_eq!(terms("max_retry_count"), ["max_retry_count", "max", "retri", "count"]);
        assert_eq!(
            terms("parseHTTPRequest failed in src/main.rs with E0308"),
            ["parsehttprequest", "pars", "http", "request", "fail", "src", "main.rs", "main", "rs", "e0308"]
        );
        assert_eq!(terms("She bought what he would buy"), ["buy"]);
        assert_eq!(analyze("dog dogs Dog").terms, [("dog".to_owned(), 3)]);
        assert_eq!(analyze("the and").total, 0);
    }

    #[test]
    fn other_languages_keep_their_words() {
        let expected: [(&str, &[&str]); 6] = [
            ("Анна купила зелёный чай", &["анна", "купила", "зелёный", "чай"]),
            ("Η Άννα αγόρασε τσάι", &["η", "άννα", "αγόρασε", "τσάι"]),
            ("اشترت آنا شايا أخضر", &["اشترت", "آنا", "شايا", "أخضر"]),
            ("अन्ना ने हरी चाय खरीदी", &["अन्ना", "ने", "हरी", "चाय", "खरीदी"]),
            ("安娜买绿茶", &["安", "娜", "买", "绿", "茶"]),
            ("die größten Häuser", &["die", "größten", "häuser"]),
        ];
        for (text, words) in expected {
            assert_eq!(terms(text), words, "{text}");
        }
    }

    #[test]
    fn order_and_names_are_kept_beside_the_counts() {
        let counts = analyze("Ask Ada about the Red Cross, Ada knows room 12");
        let order: Vec<&str> = counts.order.iter().map(|&at| counts.terms[at as usize].0.as_str()).collect();
        assert_eq!(order, ["ask", "ada", "red", "cross", "ada", "know", "room", "12"]);
        let names: Vec<&str> =
            counts.terms.iter().zip(&counts.names).filter(|(_, name)| **name).map(|(t, _)| t.0.as_str()).collect();
        assert_eq!(names, ["ada", "red", "cross", "12"]);
    }

    #[test]
    fn capitals_side_by_side_are_told_from_those_alone() {
        let runs = |text: &str| -> Vec<String> {
            let counts = analyze(text);
            let name =
                |run: &[u32]| run.iter().map(|&at| counts.terms[at as usize].0.as_str()).collect::<Vec<_>>().join(" ");
            counts.capitals.iter().map(|run| name(run)).collect()
        };
        assert_eq!(runs("Where does Ada Lovelace live?"), ["ada lovelac"]);
        assert_eq!(runs("Ada's Bob: Carol, Dan Brown and I"), ["ada", "bob", "carol", "dan brown"]);
        assert_eq!(runs("Ada met The Red Cross in parseHttp"), ["ada", "red cross"]);
        let names = analyze("Ada's tea").names;
        assert_eq!((names[0], analyze("Ada asks").names[0]), (true, false));
    }

    proptest! {
        #[test]
        fn any_text_has_terms_without_a_panic(text in "\\PC{0,80}") {
            let counts = analyze(&text);
            prop_assert_eq!(counts.total, counts.terms.iter().map(|(_, n)| n).sum::<u32>());
            prop_assert_eq!(counts.terms.len(), counts.names.len());
            prop_assert!(counts.order.iter().all(|at| (*at as usize) < counts.terms.len()));
            prop_assert!(counts.capitals.iter().flatten().all(|at| (*at as usize) < counts.terms.len()));
        }
    }
}

//! Terms that nearly are a word of the query: a misspelt word occurs nowhere, the meant one mostly does.

use std::ops::RangeInclusive;

use rustc_hash::FxHashMap;

use crate::interner::{Interner, StringId};

/// Shorter terms have too many neighbours that are other words.
const MIN_CHARS: usize = 5;
/// From this length on two mistakes are forgiven.
const LONG_CHARS: usize = 9;
/// Longer terms are no words.
const MAX_CHARS: usize = 32;
/// Terms taken for one unknown word.
const MAX_ALTERNATIVES: usize = 4;
/// Terms compared for one unknown word: keeps a query cheap whatever the vocabulary is.
const MAX_COMPARED: usize = 2_000;

/// Terms up to which all are looked at: a table of them would take more memory than they do.
const FEW_TERMS: usize = 512;

/// Terms by first letter and length: a mistake in the first letter is rare and not looked for.
#[derive(Default)]
pub struct Spellings {
    /// None while there are few terms.
    by_shape: Option<FxHashMap<(char, usize), Vec<StringId>>>,
}

/// The key of a term that may be looked for; None for numbers, codes and what is too short.
fn shape(term: &str) -> Option<(char, usize)> {
    let length = term.chars().count();
    let plain = term.chars().all(char::is_alphabetic);
    (plain && (MIN_CHARS - 1..=MAX_CHARS).contains(&length)).then(|| (term.chars().next().unwrap_or(' '), length))
}

impl Spellings {
    /// Of all terms in use.
    pub fn of(terms: &Interner) -> Self {
        let mut made = Self::default();
        if terms.len() > FEW_TERMS {
            made.list(terms);
        }
        made
    }

    fn list(&mut self, terms: &Interner) {
        let mut by_shape: FxHashMap<_, Vec<StringId>> = FxHashMap::default();
        for (id, term) in terms.iter() {
            if let Some(shape) = shape(term) {
                by_shape.entry(shape).or_default().push(id);
            }
        }
        self.by_shape = Some(by_shape);
    }

    /// A term has come into use.
    pub fn add(&mut self, id: StringId, terms: &Interner) {
        match &mut self.by_shape {
            None if terms.len() > FEW_TERMS => self.list(terms),
            None => {}
            Some(by_shape) => {
                if let Some(shape) = terms.get(id).and_then(shape) {
                    by_shape.entry(shape).or_default().push(id);
                }
            }
        }
    }

    /// A term is about to go out of use.
    pub fn remove(&mut self, id: StringId, terms: &Interner) {
        let (Some(by_shape), Some(shape)) = (&mut self.by_shape, terms.get(id).and_then(shape)) else { return };
        if let Some(ids) = by_shape.get_mut(&shape) {
            ids.retain(|known| *known != id);
            if ids.is_empty() {
                by_shape.remove(&shape);
            }
        }
    }

    /// The known terms of a first letter whose length is one of a range.
    fn of_shape(&self, first: char, lengths: RangeInclusive<usize>, terms: &Interner) -> Vec<StringId> {
        match &self.by_shape {
            Some(by_shape) => {
                lengths.filter_map(|l| by_shape.get(&(first, l))).flatten().copied().take(MAX_COMPARED).collect()
            }
            None => {
                let fits = |term: &str| shape(term).is_some_and(|(f, l)| f == first && lengths.contains(&l));
                terms.iter().filter(|(_, term)| term.starts_with(first) && fits(term)).map(|(id, _)| id).collect()
            }
        }
    }

    /// The known terms nearest to an unknown one: one mistake away, two for a long word; none when it has no such.
    pub fn near(&self, term: &str, terms: &Interner) -> Vec<StringId> {
        let Some((first, length)) = shape(term).filter(|(_, length)| *length >= MIN_CHARS) else { return Vec::new() };
        let most = if length >= LONG_CHARS { 2 } else { 1 };
        let wanted: Vec<char> = term.chars().collect();
        let (mut best, mut found) = (most, Vec::new());
        let wanted_letters = letters(term);
        for id in self.of_shape(first, length - most..=length + most, terms) {
            let known = terms.get(id).unwrap_or_default();
            // A mistake takes one letter out of the set and brings one in at most.
            if (wanted_letters ^ letters(known)).count_ones() as usize > 2 * best {
                continue;
            }
            let known: Vec<char> = known.chars().collect();
            let distance = mistakes(&wanted, &known, best);
            if distance < best {
                found.clear();
                best = distance;
            }
            if distance <= best {
                found.push(id);
            }
        }
        found.sort_unstable_by_key(|id| terms.get(*id));
        found.truncate(MAX_ALTERNATIVES);
        found
    }

    /// Estimate of the heap it holds.
    pub fn memory_bytes(&self) -> usize {
        let Some(by_shape) = &self.by_shape else { return 0 };
        by_shape.capacity() * 48 + by_shape.values().map(|ids| ids.capacity() * 4).sum::<usize>()
    }
}

/// The set of letters, by their code modulo 64.
fn letters(term: &str) -> u64 {
    term.chars().fold(0, |set, letter| set | 1 << (letter as u32 % 64))
}

/// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment), `most` + 1 at least when over.
fn mistakes(a: &[char], b: &[char], most: usize) -> usize {
    if a.len().abs_diff(b.len()) > most {
        return most + 1;
    }
    let mut before = [0usize; MAX_CHARS + 1];
    let mut last: [usize; MAX_CHARS + 1] = std::array::from_fn(|j| j);
    for i in 1..=a.len() {
        let mut row = [0usize; MAX_CHARS + 1];
        row[0] = i;
        let mut least = i;
        for j in 1..=b.len() {
            let kept = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = kept.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
            least = least.min(row[j]);
        }
        if least > most {
            return most + 1;
        }
        (before, last) = (last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The recursive definition.
    fn oracle(a: &[char], b: &[char]) -> usize {
        match (a, b) {
            ([], _) => b.len(),
            (_, []) => a.len(),
            ([a_rest @ .., x], [b_rest @ .., y]) => {
                let kept = oracle(a_rest, b_rest) + usize::from(x != y);
                let mut best = kept.min(oracle(a_rest, b) + 1).min(oracle(a, b_rest) + 1);
                if let ([a_less @ .., x2], [b_less @ .., y2]) = (a_rest, b_rest)
                    && x == y2
                    && x2 == y
                {
                    best = best.min(oracle(a_less, b_less) + 1);
                }
                best
            }
        }
    }

    /// With a table of them and without.
    fn known(terms: &[&str]) -> [(Interner, Spellings); 2] {
        [false, true].map(|listed| {
            let (mut interner, mut spellings) = (Interner::default(), Spellings::default());
            if listed {
                spellings.list(&interner);
            }
            for term in terms {
                let id = interner.acquire(term);
                spellings.add(id, &interner);
            }
            (interner, spellings)
        })
    }

    fn near<'a>((terms, spellings): &'a (Interner, Spellings), word: &str) -> Vec<&'a str> {
        spellings.near(word, terms).into_iter().filter_map(|id| terms.get(id)).collect()
    }

    #[test]
    fn the_nearest_terms_are_found_and_short_ones_left_alone() {
        for known in known(&["guitar", "guitars", "violin", "tea", "restaurant", "restart"]) {
            assert_eq!(near(&known, "guitr"), ["guitar"]);
            assert_eq!(near(&known, "gutiar"), ["guitar"]);
            assert_eq!(near(&known, "restuarent"), ["restaurant"]);
            assert_eq!(near(&known, "tee"), Vec::<&str>::new());
            assert_eq!(near(&known, "piano"), Vec::<&str>::new());
            assert_eq!(near(&known, "x0000"), Vec::<&str>::new());
        }
    }

    #[test]
    fn a_term_that_went_is_not_found() {
        for (mut terms, mut spellings) in known(&["guitar"]) {
            let guitar = terms.find("guitar").unwrap();
            spellings.remove(guitar, &terms);
            terms.release(guitar);
            assert!(spellings.near("guitr", &terms).is_empty());
            assert!(spellings.by_shape.is_none_or(|shapes| shapes.is_empty()));
        }
    }

    #[test]
    fn many_terms_are_listed_and_found_as_few_were() {
        let (mut terms, mut spellings) = (Interner::default(), Spellings::default());
        for number in 0..=FEW_TERMS {
            assert!(spellings.by_shape.is_none());
            let letters = [b'a', b'c'].map(|first| char::from(first + (number % 23) as u8));
            let id = terms.acquire(&format!("{}{}{}", letters[0], letters[1], "ab".repeat(2 + number / 23)));
            spellings.add(id, &terms);
        }
        let listed = spellings.near("acababb", &terms);
        assert!(spellings.by_shape.is_some() && !listed.is_empty());
        assert_eq!(listed, Spellings::default().near("acababb", &terms));
    }

    proptest! {
        #[test]
        fn mistakes_are_counted_as_defined(a in "[a-c]{0,6}", b in "[a-c]{0,6}", most in 0usize..4) {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            let (counted, expected) = (mistakes(&a, &b, most), oracle(&a, &b));
            prop_assert_eq!(counted.min(most + 1), expected.min(most + 1));
            let set = |word: &[char]| letters(&word.iter().collect::<String>());
            prop_assert!((set(&a) ^ set(&b)).count_ones() as usize <= 2 * expected);
        }
    }
}

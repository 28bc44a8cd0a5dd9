//! Names among the words of a query: who is meant by "Ada Lovelace", and who is not.

use super::QueryTerms;
use crate::text::analyze::TermCounts;
use crate::text::pairs;

impl QueryTerms {
    /// What the names of the query add to, or take from, the words of a memory. `more`: what a name counts more, as a part of
    /// its weight. `rest`: what a part of a full name counts of the whole where it stands `alone` (sorted hashes): "Ada" is
    /// Ada Lovelace as long as nobody says otherwise, and the "Ada" of "Ada Byron" is not: its part is taken.
    pub fn by_name(&self, parts: &[f32], alone: &[u32], more: f32, rest: f32) -> f32 {
        let factor = |at: usize| if self.names[at] { 1.0 + more } else { 1.0 };
        let mut sum: f32 = (0..parts.len()).map(|at| (factor(at) - 1.0) * parts[at]).sum();
        for name in self.full_names.iter().filter(|_| rest > 0.0) {
            let missing: f32 =
                name.iter().filter(|(at, _)| parts[*at] <= 0.0).map(|(at, _)| factor(*at) * self.terms[*at].1).sum();
            let stands = |(at, hash): &&(usize, u32)| parts[*at] > 0.0 && alone.binary_search(hash).is_ok();
            let (first, _) = name[0];
            if missing <= 0.0 {
                continue;
            }
            sum += match name.iter().find(stands) {
                Some((at, _)) => rest * missing * parts[*at] / self.terms[*at].1,
                None => -rest * factor(first) * parts[first],
            };
        }
        sum
    }
}

/// The query's names of several words. `places`: where the terms of each of its words begin among those that occur.
pub(super) fn full_names(query: &TermCounts, places: &[usize]) -> Vec<Vec<(usize, u32)>> {
    let occurs = |&at: &u32| {
        let at = at as usize;
        (places[at + 1] == places[at] + 1).then(|| (places[at], pairs::hash_one(&query.terms[at].0)))
    };
    let several = query.capitals.iter().filter(|run| run.len() > 1);
    several.map(|run| run.iter().filter_map(occurs).collect::<Vec<_>>()).filter(|name| name.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use crate::text::{LexicalIndex, TextTraits, WordOptions, analyze};

    const PLAIN: WordOptions = WordOptions { spelling: 0.0, faint: 1.0 };

    #[test]
    fn a_first_name_stands_for_the_whole_unless_it_is_somebody_elses() {
        let texts =
            ["Ada Lovelace likes tea", "Ada likes tea", "Ada Byron likes tea", "Lovelace likes tea", "we like tea"];
        let mut index = LexicalIndex::default();
        texts.iter().zip(0..).for_each(|(text, slot)| index.insert(slot, &analyze(text)));
        let score = |slot: u32, query: &str| {
            let terms = index.resolve(&analyze(query), &PLAIN);
            let mut parts = vec![0.0; terms.len()];
            index.parts(slot, &terms, &mut parts);
            let alone = TextTraits::of(texts[slot as usize], &analyze(texts[slot as usize]), None).alone;
            parts.iter().sum::<f32>() + terms.by_name(&parts, &alone, 0.0, 1.0)
        };
        let [full, first, other, last, none] = [0, 1, 2, 3, 4].map(|slot| score(slot, "what does Ada Lovelace like?"));
        assert!(first >= full && last >= full && other < first, "{full} {first} {other} {last} {none}");
        assert!(0.0 < other && other <= none, "another Ada is nobody the query names: {other} {none}");
        // Without its capitals, and alone, it is a word like any other.
        for query in ["what does ada lovelace like?", "what does Ada like?"] {
            assert!(score(2, query) > score(4, query));
        }
    }
}

//! Versions of one fact: what superseded what. Only the one that is valid is found, but a question may be in the words of
//! another ("Which database does it use?" finds "It uses Postgres", which "We moved to MySQL" took the place of).

use super::State;
use super::candidates::{Around, Parts, Query};
use crate::bitmap::Bitmap;
use crate::fields::column;
use crate::index::{PreparedQuery, VectorIndex};
use crate::interner::ABSENT;
use crate::rank::{Candidate, Lent, RankingOptions};

/// Versions looked at in each direction, nearest first: a counter has thousands, and all say the same.
const MAX_VERSIONS: usize = 8;

impl State {
    /// Whether anything superseded a slot, or was superseded by it.
    pub(super) fn has_versions(&self, slot: u32) -> bool {
        [column::SUPERSEDES, column::SUPERSEDED_BY].iter().any(|&field| self.fields.string(field, slot) != ABSENT)
    }

    /// Let the other versions of each candidate lend it what they have more: each side from where it counts most. `lenders`:
    /// those the asker may see. What is found itself (`visible`) lends nothing.
    pub(super) fn lend_versions(
        &self,
        candidates: &mut [Candidate],
        query: &Query,
        embedding: Option<&PreparedQuery>,
        [visible, lenders]: [&Bitmap; 2],
        options: &RankingOptions,
    ) {
        let share = options.cues.versions;
        let mut around = Around::new(self, &query.terms, visible, Parts::default());
        for candidate in candidates {
            for version in self.versions(candidate.slot, lenders).into_iter().filter(|slot| !visible.get(*slot)) {
                let other = around.words_of(version, candidate.traits.turn, options);
                let cosine = embedding.and_then(|query| self.vectors.cosine(version, query));
                let nearer = candidate.cosine.zip(cosine).map_or(0.0, |(own, other)| share * (other - own));
                let words = share * (other.own_words() - candidate.own_words());
                let lent = candidate.lent;
                candidate.lent = Lent { cosine: lent.cosine.max(nearer), words: lent.words.max(words) };
            }
        }
    }

    /// The versions before and behind a slot, as far as all between may be seen.
    fn versions(&self, slot: u32, lenders: &Bitmap) -> Vec<u32> {
        let mut found = Vec::new();
        for field in [column::SUPERSEDES, column::SUPERSEDED_BY] {
            let mut at = slot;
            for _ in 0..MAX_VERSIONS {
                let next = self.fields.strings.get(self.fields.string(field, at)).and_then(|id| self.ids.find(id));
                let Some(next) = next.filter(|&next| lenders.get(next) && next != slot && !found.contains(&next))
                else {
                    break;
                };
                found.push(next);
                at = next;
            }
        }
        found
    }
}

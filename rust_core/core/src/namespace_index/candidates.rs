//! From what the two searches found to candidates with everything the ranking goes by.

use rustc_hash::{FxBuildHasher, FxHashMap};

use super::State;
use crate::bitmap::Bitmap;
use crate::dates::{Spoken, answers, day_of, spoken_dates};
use crate::fields::column;
use crate::index::{PreparedQuery, VectorIndex};
use crate::interner::{ABSENT, StringId};
use crate::rank::{Candidate, RankingOptions, Traits};
use crate::text::{QueryTerms, WordOptions, analyze, names_in};

/// What a word two turns away counts of one in the next turn.
const FAR_SHARE: f32 = 0.6;
/// Turns looked at around a find: two before, two behind.
const BESIDE: usize = 4;
/// Turns around candidates, about: room made beforehand.
const EXPECTED: usize = 512;
/// Finds, best first of each side, whose neighbours become candidates: further ones add work and no recall.
const MAX_WITH_NEIGHBOURS: usize = 10;

/// A query, read once.
pub struct Query {
    pub terms: QueryTerms,
    /// Its words in lower case, for the names of speakers.
    pub words: Vec<String>,
    /// The time it asks about.
    pub dates: Vec<Spoken>,
}

impl State {
    pub fn query(&self, text: &str, options: &RankingOptions) -> Query {
        let cues = &options.cues;
        let asks_when = cues.date > 0.0;
        Query {
            terms: self.words.resolve(&analyze(text), &WordOptions { names: cues.names, spelling: cues.spelling }),
            words: if cues.speaker > 0.0 { names_in(text) } else { Vec::new() },
            dates: if asks_when { spoken_dates(text, options.now_us.and_then(day_of)) } else { Vec::new() },
        }
    }

    /// What was found by either side and what stands beside it, each once, by slot; with both exact scores.
    pub fn candidates(
        &self,
        query: &Query,
        embedding: Option<&PreparedQuery>,
        known: Parts,
        found: [&[(u32, f32)]; 2],
        visible: &Bitmap,
        options: &RankingOptions,
    ) -> Vec<Candidate> {
        let mut slots: Vec<u32> = found.iter().copied().flatten().map(|&(slot, _)| slot).collect();
        slots.sort_unstable();
        slots.dedup();
        let searched = slots.len();
        let mut places: FxHashMap<u32, u32> = slots.iter().enumerate().map(|(at, &slot)| (slot, at as u32)).collect();
        let mut around = Around { state: self, terms: &query.terms, visible, known };
        if options.cues.look_beside() {
            let best = found.iter().flat_map(|side| side.iter().take(MAX_WITH_NEIGHBOURS));
            for slot in best.flat_map(|&(slot, _)| around.beside(slot)).flatten().collect::<Vec<_>>() {
                places.entry(slot).or_insert_with(|| {
                    slots.push(slot);
                    slots.len() as u32 - 1
                });
            }
        }
        let mut speakers = FxHashMap::default();
        let mut candidates = Vec::with_capacity(slots.len());
        for (at, &slot) in slots.iter().enumerate() {
            let mut candidate = around.words_of(slot, options);
            candidate.cosine = embedding.and_then(|query| self.vectors.cosine(slot, query));
            candidate.traits = self.traits(slot, query, &mut speakers);
            candidate.traits.beside_only = at >= searched;
            if options.cues.look_beside() {
                let [_, before, behind, _] = around.beside(slot);
                let place = |slot: Option<u32>| slot.and_then(|slot| places.get(&slot)).copied();
                (candidate.traits.before, candidate.traits.behind) = (place(before), place(behind));
            }
            candidates.push(candidate);
        }
        candidates
    }

    /// What these slots and those beside them have of the query's words, looked up ahead.
    pub fn parts(&self, terms: &QueryTerms, found: &[(u32, f32)], visible: &Bitmap) -> Parts {
        let mut around = Around { state: self, terms, visible, known: Parts::default() };
        for &(slot, _) in found {
            around.parts(slot);
            around.beside(slot).into_iter().flatten().for_each(|near| {
                around.parts(near);
            });
        }
        around.known
    }

    fn traits(&self, slot: u32, query: &Query, speakers: &mut FxHashMap<StringId, bool>) -> Traits {
        let fields = &self.fields;
        let speaker = fields.string(column::SPEAKER, slot);
        let time_us = fields.integer(column::EVENT_TIME, slot).or_else(|| fields.integer(column::CREATE_TIME, slot));
        let text = &self.traits[slot as usize];
        let importance = fields.importance.get(slot as usize).copied().unwrap_or(f64::NAN) as f32;
        Traits {
            turn: fields.string(column::SESSION_ID, slot) != ABSENT
                && (speaker != ABSENT || fields.integer(column::POSITION, slot).is_some()),
            asks: text.asks,
            length: self.words.length(slot),
            named: !query.words.is_empty()
                && *speakers.entry(speaker).or_insert_with(|| self.is_named(speaker, &query.words)),
            dated: !query.dates.is_empty() && answers(&query.dates, time_us.and_then(day_of), &text.dates),
            time_us,
            importance: if importance.is_nan() { 0.0 } else { importance },
            ..Traits::default()
        }
    }

    /// By the first or the last part of the name: "Ada", "Lovelace", "Ada Lovelace".
    fn is_named(&self, speaker: StringId, words: &[String]) -> bool {
        let names = names_in(self.fields.strings.get(speaker).unwrap_or_default());
        [names.first(), names.last()].into_iter().flatten().any(|name| words.contains(name))
    }
}

/// The turns around candidates, and what they have of the query's words; each looked up once.
struct Around<'a> {
    state: &'a State,
    terms: &'a QueryTerms,
    visible: &'a Bitmap,
    known: Parts,
}

/// What slots have of the query's words.
#[derive(Clone)]
pub struct Parts {
    /// By slot: where its parts start.
    starts: FxHashMap<u32, Option<usize>>,
    /// What each term of the query adds, one stretch of `terms.len()` a slot.
    values: Vec<f32>,
}

impl Default for Parts {
    fn default() -> Self {
        Self { starts: FxHashMap::with_capacity_and_hasher(EXPECTED, FxBuildHasher), values: Vec::new() }
    }
}

impl Around<'_> {
    /// What the query may not see neither lends nor comes along.
    fn beside(&self, slot: u32) -> [Option<u32>; BESIDE] {
        self.state.conversations.beside(slot).map(|near| near.filter(|&near| self.visible.get(near)))
    }

    /// Where the parts of a slot start; None when it has no word of the query.
    fn parts(&mut self, slot: u32) -> Option<usize> {
        let Parts { starts, values } = &mut self.known;
        *starts.entry(slot).or_insert_with(|| {
            let start = values.len();
            values.resize(start + self.terms.len(), 0.0);
            if self.state.words.parts(slot, self.terms, &mut values[start..]) {
                return Some(start);
            }
            values.truncate(start);
            None
        })
    }

    /// A candidate with its words: each counts once, from where it counts most, here or in the turns beside.
    fn words_of(&mut self, slot: u32, options: &RankingOptions) -> Candidate {
        let mut candidate = Candidate { slot, ..Candidate::default() };
        let width = self.terms.len();
        let own = self.parts(slot);
        if let Some(own) = own {
            let parts = &self.known.values[own..own + width];
            // Added up as `LexicalIndex::search` does: equal to the bit.
            candidate.bm25 = parts.iter().sum();
            candidate.matched_terms = parts.iter().filter(|part| **part > 0.0).count() as u32;
            candidate.coverage = self.terms.coverage(parts);
        }
        if options.cues.phrases > 0.0 && candidate.matched_terms > 1 {
            candidate.phrases = options.cues.phrases * self.terms.phrases(&self.state.traits[slot as usize].pairs);
        }
        if options.cues.context_words > 0.0 && width > 0 {
            candidate.context = self.context(slot, own, options.cues.context_words);
        }
        candidate
    }

    /// What the turns beside add to a slot's words.
    fn context(&mut self, slot: u32, own: Option<usize>, near: f32) -> f32 {
        let shares = [near * FAR_SHARE, near, near, near * FAR_SHARE];
        let mut lenders = [(0, 0.0); BESIDE];
        let mut count = 0;
        for (other, share) in self.beside(slot).into_iter().zip(shares) {
            if let Some(start) = other.and_then(|other| self.parts(other)) {
                lenders[count] = (start, share);
                count += 1;
            }
        }
        if count == 0 {
            return 0.0;
        }
        let raised = |term: usize| {
            let here = own.map_or(0.0, |own| self.known.values[own + term]);
            let lent = lenders[..count].iter().map(|(start, share)| share * self.known.values[start + term]);
            lent.fold(here, f32::max) - here
        };
        (0..self.terms.len()).map(raised).sum()
    }
}

//! From what the two searches found to candidates with everything the ranking goes by.

use std::ops::Range;

use rustc_hash::{FxBuildHasher, FxHashMap};

use super::State;
use crate::bitmap::Bitmap;
use crate::dates::{Spoken, answers, day_of, places_of_dates};
use crate::fields::column;
use crate::index::{PreparedQuery, VectorIndex};
use crate::interner::{ABSENT, StringId};
use crate::rank::{Candidate, RankingOptions, Traits};
use crate::text::{QueryTerms, TermCounts, WordOptions, analyze, names_in};

/// What a word two turns away counts of one in the next turn.
const FAR_SHARE: f32 = 0.6;
/// Turns looked at around a find: two before, two behind.
const BESIDE: usize = 4;
/// One session may last for weeks: what is said a day later is no reply.
const MAX_GAP_US: u64 = 24 * MAX_UNPLACED_GAP_US;
/// Where no positions say that one followed the other, what was stored next need not: facts of one session stand beside each
/// other by chance.
const MAX_UNPLACED_GAP_US: u64 = 3_600_000_000;
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
        let mut words = analyze(text);
        let mut dates = Vec::new();
        if cues.date > 0.0 || cues.date_words > 0.0 {
            let (spoken, places): (Vec<_>, Vec<_>) =
                places_of_dates(text, options.now_us.and_then(day_of)).into_iter().unzip();
            words.faint = only_in(&words, text, &places);
            dates = if cues.date > 0.0 { spoken } else { dates };
        }
        let weighing = WordOptions { spelling: cues.spelling, faint: 1.0 - cues.date_words };
        Query {
            terms: self.words.resolve(&words, &weighing),
            words: if cues.speaker > 0.0 { names_in(text) } else { Vec::new() },
            dates,
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
        let mut around = Around::new(self, &query.terms, visible, known);
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
            let traits = self.traits(slot, query, &mut speakers);
            let mut candidate = around.words_of(slot, traits.turn, options);
            candidate.cosine = embedding.and_then(|query| self.vectors.cosine(slot, query));
            candidate.traits = traits;
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
        let mut around = Around::new(self, terms, visible, Parts::default());
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
        let time_us = self.time_us(slot);
        let text = &self.traits[slot as usize];
        let importance = fields.importance.get(slot as usize).copied().unwrap_or(f64::NAN) as f32;
        Traits {
            turn: self.is_turn(slot, speaker),
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

    /// A turn has its place among others; so has what somebody said while somebody said something else.
    pub(super) fn is_turn(&self, slot: u32, speaker: StringId) -> bool {
        self.fields.string(column::SESSION_ID, slot) != ABSENT
            && (self.fields.integer(column::POSITION, slot).is_some()
                || speaker != ABSENT && self.beside(slot).iter().any(Option::is_some))
    }

    /// When it was said, else stored.
    fn time_us(&self, slot: u32) -> Option<i64> {
        let time = |field| self.fields.integer(field, slot);
        time(column::EVENT_TIME).or_else(|| time(column::CREATE_TIME))
    }

    /// The turns around a slot, as far as they were said around the same time.
    pub(super) fn beside(&self, slot: u32) -> [Option<u32>; BESIDE] {
        let said = self.time_us(slot);
        let placed = |slot| self.fields.integer(column::POSITION, slot).is_some();
        let most = |near| if placed(slot) && placed(near) { MAX_GAP_US } else { MAX_UNPLACED_GAP_US };
        let apart = |near| self.time_us(near).zip(said).is_some_and(|(a, b)| a.abs_diff(b) > most(near));
        self.conversations.beside(slot).map(|near| near.filter(|&near| !apart(near)))
    }

    /// By the first or the last part of the name: "Ada", "Lovelace", "Ada Lovelace".
    fn is_named(&self, speaker: StringId, words: &[String]) -> bool {
        let names = names_in(self.fields.strings.get(speaker).unwrap_or_default());
        [names.first(), names.last()].into_iter().flatten().any(|name| words.contains(name))
    }
}

/// By term of a query: whether it stands in these places of the text alone. Empty without places.
fn only_in(words: &TermCounts, text: &str, places: &[Range<usize>]) -> Vec<bool> {
    if places.is_empty() {
        return Vec::new();
    }
    let mut rest = String::with_capacity(text.len());
    let mut from = 0;
    for place in places {
        rest.push_str(&text[from..place.start]);
        from = place.end;
    }
    rest.push_str(&text[from..]);
    let rest = analyze(&rest);
    words.terms.iter().map(|(term, _)| !rest.terms.iter().any(|(other, _)| other == term)).collect()
}

/// The turns around candidates, and what they have of the query's words; each looked up once.
pub(super) struct Around<'a> {
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

impl<'a> Around<'a> {
    pub(super) fn new(state: &'a State, terms: &'a QueryTerms, visible: &'a Bitmap, known: Parts) -> Self {
        Self { state, terms, visible, known }
    }

    /// What the query may not see neither lends nor comes along.
    fn beside(&self, slot: u32) -> [Option<u32>; BESIDE] {
        self.state.beside(slot).map(|near| near.filter(|&near| self.visible.get(near)))
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
    /// Names count more in what is no `turn`.
    pub(super) fn words_of(&mut self, slot: u32, turn: bool, options: &RankingOptions) -> Candidate {
        let mut candidate = Candidate { slot, ..Candidate::default() };
        let width = self.terms.len();
        let own = self.parts(slot);
        if let Some(own) = own {
            let parts = &self.known.values[own..own + width];
            // Added up as `LexicalIndex::search` does: equal to the bit.
            candidate.bm25 = parts.iter().sum();
            candidate.matched_terms = parts.iter().filter(|part| **part > 0.0).count() as u32;
            candidate.coverage = self.terms.coverage(parts);
            let alone = &self.state.traits[slot as usize].alone;
            let more = if turn { 0.0 } else { options.cues.names };
            candidate.names = self.terms.by_name(parts, alone, more, options.cues.full_name);
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

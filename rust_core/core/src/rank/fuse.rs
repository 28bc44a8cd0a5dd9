//! Min-max fusion: each side's scores are stretched to 0..1 over the candidates and added by weight, so that the margin of
//! a strong match counts (rank fusion throws it away and was measured below BM25 alone).

use super::candidate::{Candidate, Ranked};
use super::cues::CueParts;

/// Both parts and their weighted sum, in the order of the candidates.
pub fn fuse(candidates: Vec<Candidate>, vector_weight: f32) -> Vec<Ranked> {
    // What only stands beside a find does not move the scale: it is there by luck and may be far off.
    let cosines = Span::of(candidates.iter().filter(|c| !c.traits.beside_only).filter_map(Candidate::meaning));
    let words = Span::of(candidates.iter().map(Candidate::words));
    // A side that says nothing gives its weight to the other, so that scores keep reaching 1.
    let has_words = candidates.iter().any(|c| c.words() > 0.0);
    let vector_weight = match (cosines.is_some(), has_words) {
        (true, false) => 1.0,
        (false, true) => 0.0,
        _ => vector_weight,
    };
    let ranked = |candidate: Candidate| {
        let vector_part = candidate.meaning().map_or(0.0, |c| cosines.map_or(0.0, |span| span.place(c)));
        let word_part = words.map_or(0.0, |span| span.place(candidate.words()));
        let score = vector_weight * vector_part + (1.0 - vector_weight) * word_part;
        let raised = |by: f32| words.map_or(0.0, |span| span.part(by));
        let nearer = cosines.map_or(0.0, |span| span.part(candidate.lent.cosine));
        let cues = CueParts {
            context_words: raised(candidate.context),
            phrases: raised(candidate.phrases),
            names: raised(candidate.names),
            versions: vector_weight * nearer + (1.0 - vector_weight) * raised(candidate.lent.words),
            ..CueParts::default()
        };
        Ranked { candidate, score, vector_part, word_part, cues }
    };
    candidates.into_iter().map(ranked).collect()
}

#[derive(Clone, Copy)]
struct Span {
    low: f32,
    high: f32,
}

impl Span {
    fn of(values: impl Iterator<Item = f32>) -> Option<Self> {
        values.fold(None, |span: Option<Self>, v| {
            let span = span.unwrap_or(Self { low: v, high: v });
            Some(Self { low: span.low.min(v), high: span.high.max(v) })
        })
    }

    /// 0 at the lowest, 1 at the highest; when all are equal, 1 for a match and 0 for none.
    fn place(self, value: f32) -> f32 {
        if self.high > self.low {
            ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
        } else if value > 0.0 {
            1.0
        } else {
            0.0
        }
    }

    /// How far along the span a difference goes.
    fn part(self, difference: f32) -> f32 {
        if self.high > self.low { difference / (self.high - self.low) } else { 0.0 }
    }
}

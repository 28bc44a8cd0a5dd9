//! What beside meaning and words speaks for a memory, and how much each of it counts.

use super::options::part;
use crate::error::Error;

/// Weights, each 0 (off) to 1. The defaults were measured on conversations the weights were not fitted on
/// (docs/retrieval.md).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cues {
    /// What a word of the query counts that only the turn beside has; two turns away it counts three fifths of that.
    pub context_words: f32,
    /// Words that stand side by side in the query and in the memory, as a part of their weight.
    pub phrases: f32,
    /// What names and numbers among the query's words count more in facts. In a conversation every turn has the same few.
    pub names: f32,
    /// What a part of a full name counts of the whole.
    pub full_name: f32,
    /// What is taken of the weight of words of the query that say when.
    pub date_words: f32,
    /// What a memory gets of what other versions of the same fact have more.
    pub versions: f32,
    /// What a known word counts that stands for an unknown one it nearly is spelt like.
    pub spelling: f32,
    /// What a turn gets of the score of the better turn beside it.
    pub neighbours: f32,
    /// What a turn gets of the score of the question it follows.
    pub reply: f32,
    /// For memories of a speaker the query names.
    pub speaker: f32,
    /// For memories of, or about, a time the query names.
    pub date: f32,
    /// Against turns of few words.
    pub short_turn: f32,
    /// Against turns that ask.
    pub question_turn: f32,
    /// For the newest candidate; the oldest has nothing of it.
    pub recency: f32,
    /// For an importance of 1.
    pub importance: f32,
    /// Against each memory of nearly the same words that stands higher.
    pub diversity: f32,
}

impl Default for Cues {
    fn default() -> Self {
        Self {
            context_words: 0.5,
            phrases: 0.1,
            names: 0.5,
            full_name: 1.0,
            date_words: 0.0,
            versions: 1.0,
            spelling: 0.7,
            neighbours: 0.15,
            reply: 0.2,
            speaker: 0.1,
            date: 0.35,
            short_turn: 0.15,
            question_turn: 0.05,
            recency: 0.01,
            importance: 0.02,
            diversity: 0.3,
        }
    }
}

impl Cues {
    /// Meaning and words alone.
    pub const OFF: Self = Self {
        context_words: 0.0,
        phrases: 0.0,
        names: 0.0,
        full_name: 0.0,
        date_words: 0.0,
        versions: 0.0,
        spelling: 0.0,
        neighbours: 0.0,
        reply: 0.0,
        speaker: 0.0,
        date: 0.0,
        short_turn: 0.0,
        question_turn: 0.0,
        recency: 0.0,
        importance: 0.0,
        diversity: 0.0,
    };

    /// Names and weights.
    pub fn named(&self) -> [(&'static str, f32); 16] {
        [
            ("context_words", self.context_words),
            ("phrases", self.phrases),
            ("names", self.names),
            ("full_name", self.full_name),
            ("date_words", self.date_words),
            ("versions", self.versions),
            ("spelling", self.spelling),
            ("neighbours", self.neighbours),
            ("reply", self.reply),
            ("speaker", self.speaker),
            ("date", self.date),
            ("short_turn", self.short_turn),
            ("question_turn", self.question_turn),
            ("recency", self.recency),
            ("importance", self.importance),
            ("diversity", self.diversity),
        ]
    }

    /// The weight of a name, to be changed.
    pub fn weight_mut(&mut self, name: &str) -> Option<&mut f32> {
        Some(match name {
            "context_words" => &mut self.context_words,
            "phrases" => &mut self.phrases,
            "names" => &mut self.names,
            "full_name" => &mut self.full_name,
            "date_words" => &mut self.date_words,
            "versions" => &mut self.versions,
            "spelling" => &mut self.spelling,
            "neighbours" => &mut self.neighbours,
            "reply" => &mut self.reply,
            "speaker" => &mut self.speaker,
            "date" => &mut self.date,
            "short_turn" => &mut self.short_turn,
            "question_turn" => &mut self.question_turn,
            "recency" => &mut self.recency,
            "importance" => &mut self.importance,
            "diversity" => &mut self.diversity,
            _ => return None,
        })
    }

    /// Whether anything depends on the turns beside a memory.
    pub fn look_beside(&self) -> bool {
        self.context_words > 0.0 || self.neighbours > 0.0 || self.reply > 0.0
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        self.named().into_iter().try_for_each(|(name, weight)| part(name, weight))
    }
}

/// What each cue gave or took of one hit's score, in the scale of the score.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CueParts {
    /// Words of the query in the turns beside: how much they raised the word part (0..=1, before its weight).
    pub context_words: f32,
    /// Pairs of words side by side: how much they raised the word part.
    pub phrases: f32,
    /// Names of the query: how much they raised (or lowered) the word part.
    pub names: f32,
    /// Other versions of the fact: how much of the score is theirs, within the vector part and the word part.
    pub versions: f32,
    /// From the turns beside.
    pub neighbours: f32,
    /// From the question before.
    pub reply: f32,
    /// The query names who said it.
    pub speaker: f32,
    /// It is of, or about, the time the query names.
    pub date: f32,
    /// Taken: few words, or a question itself.
    pub turn: f32,
    /// Newer than others.
    pub recency: f32,
    /// Its importance.
    pub importance: f32,
    /// Taken: nearly the same stands higher.
    pub diversity: f32,
}

impl CueParts {
    /// Names and parts.
    pub fn named(&self) -> [(&'static str, f32); 12] {
        [
            ("context_words", self.context_words),
            ("phrases", self.phrases),
            ("names", self.names),
            ("versions", self.versions),
            ("neighbours", self.neighbours),
            ("reply", self.reply),
            ("speaker", self.speaker),
            ("date", self.date),
            ("turn", self.turn),
            ("recency", self.recency),
            ("importance", self.importance),
            ("diversity", self.diversity),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_is_changed_by_its_name() {
        let mut cues = Cues::default();
        for (name, _) in Cues::OFF.named() {
            *cues.weight_mut(name).unwrap() = 0.0;
        }
        assert_eq!((cues, cues.weight_mut("tea")), (Cues::OFF, None));
        cues.date = f32::NAN;
        assert!(cues.check().is_err());
    }
}

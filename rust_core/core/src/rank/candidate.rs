//! A memory on its way to being a hit.

use super::cues::CueParts;

/// A memory with both exact scores.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// Where it is.
    pub slot: u32,
    /// Cosine with the query; None when either has no embedding.
    pub cosine: Option<f32>,
    /// BM25 of the query's words.
    pub bm25: f32,
    /// Distinct words of the query it has.
    pub matched_terms: u32,
    /// Of the query's words, by weight, the part it has, 0..=1.
    pub coverage: f32,
    /// BM25 that words of the query in the turns beside add.
    pub context: f32,
    /// BM25 that words side by side add.
    pub phrases: f32,
    /// BM25 that the names of the query add; below 0 where they are somebody else's. Takes no more than is there.
    pub names: f32,
    /// What another version of the same fact has more, of the cosine and of the words.
    pub lent: Lent,
    /// What the cues go by.
    pub traits: Traits,
}

impl Candidate {
    /// What the word side goes by.
    pub fn words(&self) -> f32 {
        self.own_words() + self.lent.words
    }

    /// Without what other versions lend.
    pub fn own_words(&self) -> f32 {
        self.bm25 + self.context + self.phrases + self.names
    }

    /// What the vector side goes by.
    pub fn meaning(&self) -> Option<f32> {
        self.cosine.map(|cosine| cosine + self.lent.cosine)
    }
}

/// What a memory has from the versions of it that are no longer, or not yet, valid.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lent {
    /// Above its own cosine.
    pub cosine: f32,
    /// Above its own words.
    pub words: f32,
}

/// What a candidate is, beside what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traits {
    /// No search found it: it stands beside one that was found.
    pub beside_only: bool,
    /// The turn before it in its session, as a place in the list of candidates.
    pub before: Option<u32>,
    /// The turn behind it.
    pub behind: Option<u32>,
    /// A turn of a conversation, rather than a fact.
    pub turn: bool,
    /// Ends with a question mark.
    pub asks: bool,
    /// Words, without stop words.
    pub length: u32,
    /// The query names its speaker.
    pub named: bool,
    /// It is of, or about, a time the query names.
    pub dated: bool,
    /// When it was said or stored, microseconds since the epoch.
    pub time_us: Option<i64>,
    /// 0..=1.
    pub importance: f32,
}

/// A candidate with its fused score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// The candidate.
    pub candidate: Candidate,
    /// Fused score, 0..=1.
    pub score: f32,
    /// The cosine stretched over the candidates, 0..=1.
    pub vector_part: f32,
    /// The words' score stretched over the candidates, 0..=1.
    pub word_part: f32,
    /// What the cues gave and took; all in the scale of `score` but the first two, which are in that of `word_part`.
    pub cues: CueParts,
}

//! Sentences as unit vectors of term weights, rare words weighing more. Sums run in the order in which words come, so that
//! the same sentences give the same bits.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::Sentence;

/// Where the weights of one text stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector {
    start: usize,
    end: usize,
}

impl Vector {
    fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// The vectors of all sentences; sentences of the same text share one.
pub struct Vectors {
    /// Word and weight, text after text.
    terms: Vec<(u32, f64)>,
    words: usize,
    /// By sentence; None for one without words.
    of_sentence: Vec<Option<Vector>>,
    /// Sum of the vectors of the distinct texts: what is said again and again counts once, a phrase is not central for being
    /// a habit.
    centroid: Vec<f64>,
    /// The largest product of any of them with it.
    nearest: f64,
}

impl Vectors {
    pub fn new(sentences: &[Sentence<'_>]) -> Self {
        let mut counted = Counted::default();
        let of_sentence = sentences.iter().map(|sentence| counted.add(sentence.text)).collect();
        let mut vectors = Self {
            terms: counted.terms,
            words: counted.seen_in.len(),
            of_sentence,
            centroid: vec![0.0; counted.seen_in.len()],
            nearest: 0.0,
        };
        for &text in &counted.texts {
            vectors.weigh(text, &counted.seen_in, counted.texts.len());
        }
        vectors.nearest = counted.texts.iter().map(|&text| vectors.nearness(text)).fold(0.0, f64::max);
        vectors
    }

    /// Places and vectors of the sentences that have words.
    pub fn of_sentences(&self) -> impl Iterator<Item = (usize, Vector)> {
        self.of_sentence.iter().enumerate().filter_map(|(place, vector)| vector.map(|vector| (place, vector)))
    }

    /// How near it is to the centre of them all, 0..=1.
    pub fn centrality(&self, vector: Vector) -> f64 {
        self.nearness(vector) / self.nearest
    }

    /// From counts to a unit vector, which is added to the centroid.
    fn weigh(&mut self, text: Vector, seen_in: &[u32], texts: usize) {
        let terms = &mut self.terms[text.range()];
        let mut squares = 0.0;
        for (word, weight) in terms.iter_mut() {
            let rarity = (1.0 + texts as f64 / f64::from(seen_in[*word as usize])).ln();
            *weight = (1.0 + weight.ln()) * rarity;
            squares += *weight * *weight;
        }
        let norm = squares.sqrt();
        for (word, weight) in terms {
            *weight /= norm;
            self.centroid[*word as usize] += *weight;
        }
    }

    fn nearness(&self, vector: Vector) -> f64 {
        dot(&self.terms[vector.range()], &self.centroid)
    }
}

/// One vector by word, to be multiplied with others.
pub struct Scatter<'a> {
    vectors: &'a Vectors,
    weights: Vec<f64>,
    put: Option<Vector>,
}

impl<'a> Scatter<'a> {
    pub fn new(vectors: &'a Vectors) -> Self {
        Self { vectors, weights: vec![0.0; vectors.words], put: None }
    }

    /// Take this one in the place of the last one.
    pub fn put(&mut self, vector: Vector) {
        if let Some(before) = self.put.replace(vector) {
            for (word, _) in &self.vectors.terms[before.range()] {
                self.weights[*word as usize] = 0.0;
            }
        }
        for (word, weight) in &self.vectors.terms[vector.range()] {
            self.weights[*word as usize] = *weight;
        }
    }

    /// The cosine of the one that was put and another.
    pub fn dot(&self, other: Vector) -> f64 {
        dot(&self.vectors.terms[other.range()], &self.weights)
    }
}

fn dot(terms: &[(u32, f64)], weights: &[f64]) -> f64 {
    terms.iter().fold(0.0, |sum, &(word, weight)| sum + weight * weights[word as usize])
}

/// Words of the distinct texts, counted.
#[derive(Default)]
struct Counted<'a> {
    terms: Vec<(u32, f64)>,
    texts: Vec<Vector>,
    of_text: FxHashMap<&'a str, Option<Vector>>,
    ids: FxHashMap<String, u32>,
    /// By word: how many texts have it.
    seen_in: Vec<u32>,
    /// By word: where the current text has it in `terms`; stale below its start.
    at: Vec<usize>,
}

impl<'a> Counted<'a> {
    fn add(&mut self, text: &'a str) -> Option<Vector> {
        if let Some(known) = self.of_text.get(text) {
            return *known;
        }
        let start = self.terms.len();
        for word in words(text) {
            self.count(word, start);
        }
        let vector = (self.terms.len() > start).then_some(Vector { start, end: self.terms.len() });
        self.texts.extend(vector);
        self.of_text.insert(text, vector);
        vector
    }

    fn count(&mut self, word: &str, start: usize) {
        let word = word.to_lowercase();
        let id = *self.ids.entry(word).or_insert_with(|| {
            self.seen_in.push(0);
            self.at.push(usize::MAX);
            u32::try_from(self.seen_in.len() - 1).expect("a text of more words than that does not fit into memory")
        });
        let at = &mut self.at[id as usize];
        if *at < self.terms.len() && *at >= start {
            self.terms[*at].1 += 1.0;
        } else {
            *at = self.terms.len();
            self.terms.push((id, 1.0));
            self.seen_in[id as usize] += 1;
        }
    }
}

/// Runs of letters, digits and underscores; a single hyphen, apostrophe or full stop within is part of the word.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c| !is_word(c));
        let end = word_end(rest);
        let (word, after) = rest.split_at(end);
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

fn word_end(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let joins = matches!(c, '-' | '\'' | '.') && chars.peek().is_some_and(|&(_, next)| is_word(next));
        if !is_word(c) && !joins {
            return at;
        }
    }
    text.len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

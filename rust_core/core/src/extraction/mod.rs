//! An extractive summary: the sentences that are most worth keeping, in their order, within a token budget.
//!
//! How near a sentence is to what the whole is about is its centroid centrality (Radev et al. 2004, "Centroid-based
//! summarization of multiple documents"). They are chosen greedily by marginal relevance (Carbonell and Goldstein 1998), so
//! that near-copies do not fill the summary. The weights were set on half A of benches/data/facts.

mod vectors;

use crate::error::Error;
use crate::tokens::TokenCounter;
use vectors::{Scatter, Vector, Vectors};

const CENTRALITY_WEIGHT: f64 = 0.3;
/// Of the likeness to the most alike sentence that was chosen before.
const REPEAT_WEIGHT: f64 = 0.8;
/// From this likeness on a sentence says nothing new.
const SAME_AS: f64 = 0.9;
/// The score counts per token to this power: 0 prefers long sentences, 1 short ones.
const BREVITY: f64 = 0.2;

/// A sentence of what is summarized.
#[derive(Clone, Copy, Debug)]
pub struct Sentence<'a> {
    /// Without line breaks.
    pub text: &'a str,
    /// Place of its label; sentences of one label share a line where they stand together.
    pub label: usize,
    /// What it is worth apart from its centrality, finite.
    pub value: f64,
}

/// At most `max_tokens` of the sentences, a line for each label that has something left: the label, then its sentences.
/// Sentences without a word are left out. Refuses a label that is not there and a value that is no number.
pub fn extract(
    counter: &TokenCounter,
    sentences: &[Sentence<'_>],
    labels: &[&str],
    max_tokens: usize,
) -> Result<String, Error> {
    check(sentences, labels)?;
    let vectors = Vectors::new(sentences);
    let label_costs: Vec<usize> = labels.iter().map(|label| counter.count(label)).collect();
    let candidates = vectors.of_sentences().map(|(place, vector)| {
        let sentence = &sentences[place];
        let tokens = counter.count(&format!("{} ", sentence.text)).max(1);
        let score = sentence.value + CENTRALITY_WEIGHT * vectors.centrality(vector);
        Candidate { place, label: sentence.label, vector, tokens, score, likeness: 0.0 }
    });
    let chosen = choose(candidates.collect(), &vectors, &label_costs, max_tokens);
    Ok(fit(counter, chosen, sentences, labels, max_tokens))
}

fn check(sentences: &[Sentence<'_>], labels: &[&str]) -> Result<(), Error> {
    if sentences.iter().any(|sentence| sentence.label >= labels.len()) {
        return Err(Error::OutOfRange { what: "label of a sentence", bounds: "the place of a label" });
    }
    if sentences.iter().any(|sentence| !sentence.value.is_finite()) {
        return Err(Error::OutOfRange { what: "value of a sentence", bounds: "a finite number" });
    }
    Ok(())
}

struct Candidate {
    /// In the list of sentences.
    place: usize,
    label: usize,
    vector: Vector,
    tokens: usize,
    score: f64,
    /// To the most alike of the chosen ones.
    likeness: f64,
}

/// Places of the chosen sentences, best first. A label is paid for by the first of its sentences.
fn choose(mut left: Vec<Candidate>, vectors: &Vectors, label_costs: &[usize], max_tokens: usize) -> Vec<usize> {
    let mut scatter = Scatter::new(vectors);
    let mut labelled = vec![false; label_costs.len()];
    let mut chosen = Vec::new();
    let mut room = max_tokens;
    loop {
        let cost = |one: &Candidate| one.tokens + if labelled[one.label] { 0 } else { label_costs[one.label] };
        left.retain(|one| cost(one) <= room && one.likeness < SAME_AS);
        let Some(at) = best(&left, cost) else { return chosen };
        let taken = left.remove(at);
        room -= cost(&taken);
        labelled[taken.label] = true;
        scatter.put(taken.vector);
        for one in &mut left {
            one.likeness = one.likeness.max(scatter.dot(one.vector));
        }
        chosen.push(taken.place);
    }
}

/// The first of those that are worth most for what they cost.
fn best(left: &[Candidate], cost: impl Fn(&Candidate) -> usize) -> Option<usize> {
    let worth = |one: &Candidate| (one.score - REPEAT_WEIGHT * one.likeness) / (cost(one) as f64).powf(BREVITY);
    let mut found: Option<(usize, f64)> = None;
    for (at, one) in left.iter().enumerate() {
        let worth = worth(one);
        if found.is_none_or(|(_, most)| worth > most) {
            found = Some((at, worth));
        }
    }
    found.map(|(at, _)| at)
}

/// Tokens of parts do not quite add up: what was chosen last goes until the whole fits.
fn fit(
    counter: &TokenCounter,
    mut chosen: Vec<usize>,
    sentences: &[Sentence<'_>],
    labels: &[&str],
    max_tokens: usize,
) -> String {
    loop {
        let text = render(&chosen, sentences, labels);
        if counter.count(&text) <= max_tokens {
            return text;
        }
        chosen.pop();
    }
}

fn render(chosen: &[usize], sentences: &[Sentence<'_>], labels: &[&str]) -> String {
    let mut places = chosen.to_vec();
    places.sort_unstable();
    let mut text = String::new();
    let mut line = None;
    for place in places {
        let sentence = &sentences[place];
        if line == Some(sentence.label) {
            text.push(' ');
        } else {
            text.push_str(if text.is_empty() { "" } else { "\n" });
            text.push_str(labels[sentence.label]);
            line = Some(sentence.label);
        }
        text.push_str(sentence.text);
    }
    text
}

#[cfg(test)]
mod tests;

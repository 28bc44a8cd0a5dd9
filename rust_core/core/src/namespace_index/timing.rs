//! How long the ranking takes, for `cargo test --release -p memd-core --lib -- --ignored --nocapture ranking_takes`.

use std::time::Instant;

use super::*;
use crate::index::{PreparedQuery, SearchOptions, VectorIndex};
use crate::rank::{Between, Cues, RankingOptions, rank};

const MEMORIES: u32 = 10_000;
const TURNS: u32 = 20;
const DIMENSIONS: usize = 384;
const QUERIES: u32 = 200;
const LIMIT_US: f64 = 300.0;

/// A fixed sequence without a crate: SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    /// Few words are frequent, most are rare.
    fn word(&mut self) -> String {
        format!("word{}", (4_000.0 * self.unit().powi(4)) as u32)
    }

    fn text(&mut self, words: usize) -> String {
        (0..words).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }

    fn vector(&mut self) -> Vec<u8> {
        (0..DIMENSIONS).flat_map(|_| (self.unit() - 0.5).to_le_bytes()).collect()
    }
}

fn filled(numbers: &mut Numbers) -> NamespaceIndex {
    let index = NamespaceIndex::new(DIMENSIONS).unwrap();
    let entries: Vec<Entry> = (0..MEMORIES)
        .map(|at| Entry {
            memory_id: format!("m{at}"),
            version: 1,
            text: format!("{} in May 2023{}", numbers.text(14), if at % 4 == 0 { "?" } else { "" }),
            embeddings: numbers.vector(),
            fields: format!(
                r#"{{"session_id":"s{}","position":{},"speaker":"{}","event_time":{}}}"#,
                at / TURNS,
                at % TURNS,
                if at % 2 == 0 { "Ada" } else { "Bob" },
                1_680_000_000_000_000i64 + i64::from(at) * 60_000_000,
            )
            .into(),
        })
        .collect();
    index.upsert(&entries.iter().collect::<Vec<_>>(), 1).unwrap();
    index
}

#[test]
#[ignore = "a measurement: run it in a release build on a quiet machine"]
fn ranking_takes_no_longer_than_it_may() {
    let mut numbers = Numbers(1);
    let index = filled(&mut numbers);
    let state = index.read().unwrap();
    let visible = state.visible(None);
    let tie = |a: u32, b: u32| a.cmp(&b);
    let likeness = |a: u32, b: u32| state.words.likeness(a, b);
    let mut medians = Vec::new();
    for cues in [Cues::OFF, Cues::default()] {
        let options =
            RankingOptions { cues, limit: 20, now_us: Some(1_690_000_000_000_000), ..RankingOptions::default() };
        let mut taken: Vec<f64> = Vec::new();
        let mut candidates_seen = 0;
        for _ in 0..QUERIES {
            let text = format!("what did Ada say about {} in May?", numbers.text(6));
            let vector: Vec<f32> = (0..DIMENSIONS).map(|_| numbers.unit() - 0.5).collect();
            let prepared = PreparedQuery::new(&vector);
            let query = state.query(&text, &options);
            let by_words = state.words.search(&query.terms, options.candidates, &visible, &tie);
            let by_vector =
                state.vectors.search(&prepared, options.candidates, &visible, &SearchOptions::default(), &tie);
            for repeat in 0..3 {
                let started = Instant::now();
                let candidates = state.candidates(
                    &query,
                    Some(&prepared),
                    Default::default(),
                    [&by_words, &by_vector],
                    &visible,
                    &options,
                );
                candidates_seen += candidates.len();
                let found = rank(candidates, &options, &Between { tie: &tie, likeness: &likeness });
                let took = started.elapsed().as_secs_f64() * 1e6;
                assert!(!found.0.is_empty());
                if repeat == 2 {
                    taken.push(took);
                }
            }
        }
        taken.sort_unstable_by(f64::total_cmp);
        let median = taken[taken.len() / 2];
        println!("{median:.0} us, {} candidates", candidates_seen as u32 / QUERIES / 3);
        medians.push(median);
    }
    assert!(medians[1] <= LIMIT_US, "{medians:?}");
}

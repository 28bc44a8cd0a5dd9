//! A broken snapshot is never fatal and never wrong, whoever broke it.
//!
//! In half of the mutants the checksums stay as they were: they must be refused, or (a mutation may change nothing) answer
//! as the original does. In the other half they are repaired: somebody who can write a checksum can also write another sound
//! snapshot, so those must be refused or load as an index that agrees with itself in every answer, survives changes without
//! a trace of what it was, and can be saved again.
//!
//! `MEMD_SNAPSHOT_MUTANTS` says how many (2,000), `MEMD_SNAPSHOT_SEED` where to begin (0): a mutant is its seed.

#[path = "snapshot/forge.rs"]
mod forge;
#[path = "snapshot/samples.rs"]
mod samples;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use forge::{MUTATIONS, Mutation, Parts, Random, mutate};
use memd_core::index::FLAT_MAX_ROWS;
use memd_core::namespace_index::{Entry, NamespaceIndex};
use memd_core::snapshot::Error;
use samples::{Answers, DIMENSIONS, ask, assert_consistent, entry, expected, header};

const DEFAULT_MUTANTS: u64 = 2_000;
/// Every so many go through a file: mapping one costs more than all the rest.
const FILE_EVERY: u64 = 16;

/// How vectors lie, and of how many memories.
#[derive(Clone, Copy)]
struct Form {
    flat_max_rows: usize,
    memories: u64,
}

const FLAT: Form = Form { flat_max_rows: FLAT_MAX_ROWS, memories: 28 };
/// As many as a walk needs, or searches would all scan.
const GRAPH: Form = Form { flat_max_rows: 0, memories: 80 };

struct Original {
    form: Form,
    parts: Parts,
    other: Parts,
    answers: Answers,
    /// The memories of the original and more, so that every free slot is used again.
    entries: Vec<Entry>,
    /// Of an index that never held anything but `entries`.
    rewritten: Answers,
}

fn numbered(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

fn empty(form: Form) -> NamespaceIndex {
    NamespaceIndex::new(DIMENSIONS).unwrap().with_flat_max_rows(form.flat_max_rows)
}

/// Some vectors are those of other memories.
fn twinned(number: u64) -> Entry {
    Entry { embeddings: entry(number - u64::from(number % 8 == 3)).embeddings, ..entry(number) }
}

/// With holes: removed slots, some of them used again; and where there is a graph, dead nodes in it and vectors that are
/// not yet linked.
fn index_of(form: Form, numbers: std::ops::Range<u64>) -> NamespaceIndex {
    let index = empty(form);
    let entries: Vec<Entry> = numbers.clone().map(twinned).collect();
    index.upsert(&entries.iter().collect::<Vec<_>>(), 70).unwrap();
    index.maintain(form.memories as usize, 1).unwrap();
    let removed: Vec<String> = numbers.filter(|number| number % 4 == 1).map(|number| format!("m{number}")).collect();
    index.remove(&removed.iter().map(String::as_str).collect::<Vec<_>>(), 71).unwrap();
    let back: Vec<&Entry> = entries.iter().filter(|entry| entry.memory_id.ends_with('5')).collect();
    index.upsert(&back, 77).unwrap();
    index
}

impl Original {
    fn new(form: Form) -> Self {
        let index = index_of(form, 0..form.memories);
        let parts = |index: &NamespaceIndex| Parts::of(&index.to_snapshot(&header()).unwrap());
        // As many memories in as many slots, other content.
        let other = parts(&index_of(form, form.memories..2 * form.memories));
        let entries: Vec<Entry> = (0..form.memories + 12).map(twinned).collect();
        let fresh = empty(form);
        fresh.upsert(&entries.iter().collect::<Vec<_>>(), 1).unwrap();
        Self { form, parts: parts(&index), other, answers: ask(&index), entries, rewritten: unordered(ask(&fresh)) }
    }

    fn mutant(&self, seed: u64) -> (Mutation, bool, Vec<u8>) {
        let mut random = Random(seed);
        let mutation = MUTATIONS[random.below(MUTATIONS.len())];
        let repaired = random.below(2) == 1;
        let (file, repaired) = mutate(mutation, &self.parts, &self.other, &mut random, repaired);
        (mutation, repaired, file)
    }

    /// The error a mutant is refused with, or None when it loads and is right.
    fn judge(&self, seed: u64, repaired: bool, file: &[u8], path: &Path) -> Option<Error> {
        let loaded = if seed.is_multiple_of(FILE_EVERY) {
            std::fs::write(path, file).unwrap();
            NamespaceIndex::load(path, &expected())
        } else {
            NamespaceIndex::from_snapshot(file, &expected())
        };
        let (index, watermark) = match loaded {
            Ok((index, watermark)) => (index.with_flat_max_rows(self.form.flat_max_rows), watermark),
            Err(error) => return Some(error),
        };
        if !repaired {
            assert_eq!((ask(&index), watermark), (self.answers.clone(), 77));
            return None;
        }
        assert_consistent(&index);
        let again = NamespaceIndex::from_snapshot(&index.to_snapshot(&header()).unwrap(), &expected()).unwrap().0;
        assert_eq!(ask(&again), ask(&index));
        self.rewrite(&index, seed.is_multiple_of(3));
        None
    }

    /// Make the index hold `entries`; nothing may be left of what it held.
    fn rewrite(&self, index: &NamespaceIndex, empty_first: bool) {
        let known = |id: &str| !empty_first && self.entries.iter().any(|entry| entry.memory_id == id);
        let ids: Vec<String> =
            index.versions().unwrap().into_iter().map(|(id, _)| id).filter(|id| !known(id)).collect();
        let removed = index.remove(&ids.iter().map(String::as_str).collect::<Vec<_>>(), 78).unwrap();
        assert_eq!(removed, ids.len());
        if empty_first {
            assert!(index.is_empty() && index.matching(None).unwrap().is_empty());
        }
        index.upsert(&self.entries.iter().collect::<Vec<_>>(), 79).unwrap();
        assert_eq!(unordered(ask(index)), self.rewritten);
        assert_consistent(index);
    }
}

/// Without the order of insertion.
fn unordered(mut answers: Answers) -> Answers {
    answers.versions.sort();
    answers.matching.iter_mut().for_each(|ids| ids.sort());
    answers
}

#[test]
fn a_mutant_is_refused_or_answers_right() {
    judge_mutants(FLAT);
}

#[test]
fn a_mutant_of_a_graph_is_refused_or_answers_right() {
    judge_mutants(GRAPH);
}

fn judge_mutants(form: Form) {
    let original = Original::new(form);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mutant.snapshot");
    let first = numbered("MEMD_SNAPSHOT_SEED", 0);
    let count = numbered("MEMD_SNAPSHOT_MUTANTS", DEFAULT_MUTANTS);
    let mut failed = Vec::new();
    // Refused and loaded, by mutation and whether the checksums were repaired.
    let mut outcomes: BTreeMap<(Mutation, bool), [usize; 2]> = BTreeMap::new();
    for seed in first..first + count {
        let (mutation, repaired, file) = original.mutant(seed);
        match catch_unwind(AssertUnwindSafe(|| original.judge(seed, repaired, &file, &path))) {
            Ok(error) => {
                assert!(!matches!(error, Some(Error::Missing | Error::Io(_) | Error::Index(_))), "{seed}: {error:?}");
                outcomes.entry((mutation, repaired)).or_default()[usize::from(error.is_none())] += 1;
            }
            Err(_) => failed.push((seed, mutation, repaired)),
        }
    }
    println!("{outcomes:#?}");
    assert!(failed.is_empty(), "seed, mutation, checksums repaired: {failed:?}");
    // The harness reaches what it is for.
    if count >= DEFAULT_MUTANTS {
        assert_eq!(outcomes.len(), 2 * MUTATIONS.len());
        let loaded = |mutation| outcomes[&(mutation, true)][1];
        assert!([Mutation::Bits, Mutation::CopiedNumber, Mutation::Spliced].into_iter().all(|one| loaded(one) > 0));
    }
}

//! Questions that touch every part of an index, and the answers to compare.

use memd_core::index::SearchOptions;
use memd_core::namespace_index::{Entry, NamespaceIndex, Sight};
use memd_core::rank::RankingOptions;
use memd_core::snapshot::{Expected, Header};

pub const DIMENSIONS: usize = 6;

const WORDS: [&str; 12] =
    ["tea", "coffee", "kettle", "garden", "river", "train", "ticket", "garden", "tea", "winter", "lamp", "paper"];
const QUERIES: [&str; 4] = ["tea", "garden kettle paper", "winter trains by the river", "nothing known"];
const FILTERS: [&str; 12] = [
    r#"{"exists":"user_id"}"#,
    r#"{"eq":["user_id","ada"]}"#,
    r#"{"in":["agent_id",["one","two"]]}"#,
    r#"{"lt":["event_time",40]}"#,
    r#"{"ge":["position",3]}"#,
    r#"{"gt":["importance",0.4]}"#,
    r#"{"eq":["pinned",true]}"#,
    r#"{"eq":["tags","red"]}"#,
    r#"{"exists":"tags"}"#,
    r#"{"eq":["metadata.colour","blue"]}"#,
    r#"{"gt":["metadata.size",2]}"#,
    r#"{"ge":["memory_id","m1"]}"#,
];

pub fn header() -> Header {
    Header { model: "sha256:0123456789abcdef".into(), kind: "semantic".into(), watermark: 77 }
}

pub fn expected() -> Expected {
    let header = header();
    Expected { model: header.model, dimensions: DIMENSIONS, kind: header.kind }
}

/// A memory that depends on one number in every part, unset fields, lists and several windows among them.
pub fn entry(number: u64) -> Entry {
    let pick = |shift: u64, of: u64| (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> shift) % of;
    let text = (0..pick(3, 7)).map(|at| WORDS[pick(at * 5 + 2, 12) as usize]).collect::<Vec<_>>().join(" ");
    let component = |at: u64| pick(at % 48 + 7, 200) as f32 / 100.0 - 1.0;
    let windows = [0, 1, 1, 1, 2, 3][pick(11, 6) as usize] * DIMENSIONS as u64;
    let mut fields = vec![
        format!(r#""event_time":{}"#, pick(20, 90)),
        format!(r#""source":"{}"#, WORDS[pick(9, 4) as usize]) + "\"",
    ];
    let optional = [
        r#""user_id":"ada""#.to_owned(),
        r#""agent_id":"two""#.to_owned(),
        format!(r#""position":{}"#, pick(30, 6)),
        format!(r#""importance":0.{}"#, pick(31, 9)),
        r#""pinned":true"#.to_owned(),
        r#""tags":["red","x"]"#.to_owned(),
        format!(r#""metadata":{{"colour":["blue",{}],"size":{},"deep":2.5,"flag":false}}"#, pick(33, 4), pick(34, 5)),
    ];
    fields.extend(
        optional.into_iter().enumerate().filter(|(at, _)| pick(40 + *at as u64, 2) == 1).map(|(_, field)| field),
    );
    Entry {
        memory_id: format!("m{number}"),
        version: pick(17, 1000) as i64,
        text,
        embeddings: (0..windows).flat_map(|at| component(at * 7).to_le_bytes()).collect(),
        fields: format!("{{{}}}", fields.join(",")).into_bytes(),
    }
}

fn vectors() -> Vec<Vec<u8>> {
    let bytes = |vector: [f32; DIMENSIONS]| vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    [[1.0, 0.2, -0.3, 0.0, 0.5, 0.1], [-0.4, 0.9, 0.1, 0.3, -0.8, 0.6], [0.0; DIMENSIONS]].map(bytes).to_vec()
}

/// Nothing is dropped but by `limit` and `candidates`.
fn all_of(limit: usize) -> RankingOptions {
    RankingOptions { limit, candidates: limit, trim_ratio: 0.0, noise_cosine: -1.0, ..RankingOptions::default() }
}

/// Id, version, score, cosine, BM25, words: everything a hit says but where it lies.
type Hit = (String, i64, f32, Option<f32>, f32, u32);

/// What an index says to all questions.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// In insertion order.
    pub versions: Vec<(String, i64)>,
    /// By filter, in insertion order.
    pub matching: Vec<Vec<String>>,
    pub hits: Vec<(Vec<Hit>, bool, usize)>,
}

fn search(
    index: &NamespaceIndex,
    query: &str,
    vector: Option<&[u8]>,
    filter: Option<&str>,
    limit: usize,
) -> (Vec<Hit>, bool, usize) {
    let found = index.search(query, vector, filter.map(str::as_bytes), &all_of(limit)).unwrap();
    let hit = |hit: memd_core::namespace_index::Hit| {
        let of = hit.ranked.candidate;
        (hit.memory_id, hit.version, hit.ranked.score, of.cosine, of.bm25, of.matched_terms)
    };
    (found.hits.into_iter().map(hit).collect(), found.nothing_relevant, found.visible)
}

/// Ask everything.
pub fn ask(index: &NamespaceIndex) -> Answers {
    let vectors = vectors();
    let sides = || vectors.iter().map(|vector| Some(&vector[..])).chain([None]);
    let filters = || FILTERS.iter().map(|filter| Some(*filter)).chain([None]);
    let mut hits = Vec::new();
    for (query, filter) in QUERIES.iter().zip(filters().collect::<Vec<_>>().chunks(4)) {
        for (vector, filter) in sides().flat_map(|vector| filter.iter().map(move |filter| (vector, *filter))) {
            hits.extend([4, 1000].map(|limit| search(index, query, vector, filter, limit)));
        }
    }
    Answers {
        versions: index.versions().unwrap(),
        matching: filters().map(|filter| index.matching(filter.map(str::as_bytes)).unwrap()).collect(),
        hits,
    }
}

/// Whether an index agrees with itself: the best few with the best of all, filters with their negation, counts with lists.
pub fn assert_consistent(index: &NamespaceIndex) {
    let versions = index.versions().unwrap();
    assert_eq!(index.len(), versions.len());
    for filter in FILTERS {
        let passing = index.matching(Some(filter.as_bytes())).unwrap();
        let failing = index.matching(Some(format!(r#"{{"not":{filter}}}"#).as_bytes())).unwrap();
        let mut both = [passing.clone(), failing].concat();
        both.sort();
        let mut all: Vec<String> = versions.iter().map(|(id, _)| id.clone()).collect();
        all.sort();
        assert_eq!(both, all, "{filter}");
        assert_eq!(search(index, "", None, Some(filter), 0).2, passing.len());
    }
    for (vector, filter) in vectors().iter().zip([None, Some(FILTERS[3]), Some(FILTERS[8])]) {
        let by_cosine = |hit: &Hit| hit.3.unwrap_or(f32::NEG_INFINITY);
        assert_few_are_best(index, "", Some(vector), filter, by_cosine);
    }
    assert_walks_find_what_is_there(index);
    for query in QUERIES {
        assert_few_are_best(index, query, None, None, |hit| hit.4);
    }
}

fn assert_few_are_best(
    index: &NamespaceIndex,
    query: &str,
    vector: Option<&[u8]>,
    filter: Option<&str>,
    score: impl Fn(&Hit) -> f32,
) {
    let best = |limit: usize| {
        let mut hits = search(index, query, vector, filter, limit).0;
        assert!(hits.iter().all(|hit| score(hit).is_finite()));
        hits.sort_by(|a, b| score(b).total_cmp(&score(a)).then_with(|| a.0.cmp(&b.0)));
        hits.into_iter().map(|hit| (score(&hit).to_bits(), hit.0)).collect::<Vec<_>>()
    };
    let all = best(1000);
    assert_eq!(best(3), all[..all.len().min(3)]);
}

/// With few candidates a graph is walked, however small.
fn assert_walks_find_what_is_there(index: &NamespaceIndex) {
    for (vector, filter) in vectors().iter().zip([None, Some(FILTERS[1]), None]) {
        let near = |limit: usize, how: SearchOptions| {
            let filter = filter.map(str::as_bytes);
            let found = index
                .search_with("", Some(vector), Sight { filter, versions: None }, &all_of(limit), &how)
                .unwrap()
                .hits;
            found.into_iter().map(|hit| (hit.memory_id, hit.ranked.candidate.cosine)).collect::<Vec<_>>()
        };
        let all = near(1000, SearchOptions { ef: None, exact: true });
        for (limit, ef) in [(1, 1), (2, 3)] {
            let found = near(limit, SearchOptions { ef: Some(ef), exact: false });
            assert_eq!(found.len(), limit.min(all.len()));
            assert!(found.iter().all(|hit| all.contains(hit)), "{found:?}");
        }
    }
}

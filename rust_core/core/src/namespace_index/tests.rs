use super::*;
use crate::limits::MAX_TEXT_BYTES;
use crate::rank::RankingOptions;

fn entry(id: &str, text: &str, vector: &[f32], fields: &str) -> Entry {
    Entry {
        memory_id: id.into(),
        version: 1,
        text: text.into(),
        embeddings: vector.iter().flat_map(|x| x.to_le_bytes()).collect(),
        fields: fields.into(),
    }
}

fn ids(result: &SearchResult) -> Vec<&str> {
    result.hits.iter().map(|hit| hit.memory_id.as_str()).collect()
}

fn everything() -> RankingOptions {
    RankingOptions { limit: 100, trim_ratio: 0.0, noise_cosine: -1.0, ..RankingOptions::default() }
}

fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[test]
fn nothing_is_applied_when_one_entry_is_bad() {
    let index = NamespaceIndex::new(2).unwrap();
    let good = entry("a", "tea", &[1.0, 0.0], "{}");
    for bad in [entry("b", "", &[1.0], "{}"), entry("b", "", &[f32::NAN, 0.0], "{}"), entry("b", "", &[], "{]")] {
        let mut batch = vec![&good; 100];
        batch.push(&bad);
        assert!(index.upsert(&batch, 9).is_err());
        assert_eq!((index.len(), index.is_empty(), index.applied_seq()), (0, true, 0));
    }
}

#[test]
fn sides_stay_in_step_through_changes() {
    let index = NamespaceIndex::new(2).unwrap();
    let first = entry("a", "green tea", &[1.0, 0.0], r#"{"user_id":"u"}"#);
    let second = entry("b", "black coffee", &[0.0, 1.0], r#"{"user_id":"v"}"#);
    index.upsert(&[&first, &second], 5).unwrap();
    let found = index.search("teas", Some(&bytes(&[1.0, 0.1])), None, &everything()).unwrap();
    assert_eq!((ids(&found), found.visible), (vec!["a", "b"], 2));
    assert_eq!(found.hits[0].ranked.candidate.matched_terms, 1);
    // Replaced: nothing of the old one is left.
    index.upsert(&[&Entry { version: 2, ..entry("a", "water", &[], r#"{"user_id":"w"}"#) }], 3).unwrap();
    assert_eq!((index.applied_seq(), index.len()), (5, 2));
    assert_eq!(ids(&index.search("tea", None, None, &everything()).unwrap()), Vec::<&str>::new());
    assert_eq!(ids(&index.search("", Some(&bytes(&[1.0, 0.1])), None, &everything()).unwrap()), ["b"]);
    assert_eq!(index.matching(Some(br#"{"eq":["user_id","u"]}"#)), Ok(vec![]));
    assert_eq!(index.versions(), Ok(vec![("a".into(), 2), ("b".into(), 1)]));
    // Removed, and its slot used again.
    assert_eq!(index.remove(&["a", "a", "nobody"], 8), Ok(1));
    assert!(!index.contains("a").unwrap());
    index.upsert(&[&entry("c", "wine", &[1.0, 1.0], "{}")], 9).unwrap();
    assert_eq!(index.matching(None), Ok(vec!["b".into(), "c".into()]));
    assert_eq!(index.matching(Some(br#"{"not":{"exists":"user_id"}}"#)), Ok(vec!["c".into()]));
}

#[test]
fn a_filter_is_applied_inside_the_search() {
    let index = NamespaceIndex::new(2).unwrap();
    let entries: Vec<Entry> = (0..500)
        .map(|i| {
            let user = if i == 499 { "ada" } else { "bob" };
            entry(
                &format!("m{i:03}"),
                "the same words",
                &[1.0, i as f32 / 1000.0],
                &format!(r#"{{"user_id":"{user}"}}"#),
            )
        })
        .collect();
    index.upsert(&entries.iter().collect::<Vec<_>>(), 1).unwrap();
    let options = RankingOptions { candidates: 1, ..everything() };
    let found =
        index.search("words", Some(&bytes(&[1.0, 0.0])), Some(br#"{"eq":["user_id","ada"]}"#), &options).unwrap();
    assert_eq!((ids(&found), found.visible), (vec!["m499"], 1));
    assert!(matches!(index.search("", None, Some(b"{}"), &options), Err(Error::Filter(_))));
}

#[test]
fn a_filter_that_matches_nothing_finds_nothing_in_any_form() {
    // Scanned in float32, scanned by codes, and a graph.
    for (memories, graph) in [(5, false), (500, false), (500, true)] {
        let index = NamespaceIndex::new(2).unwrap();
        let index = if graph { index.with_flat_max_rows(0) } else { index };
        let entries: Vec<Entry> =
            (0..memories).map(|i| entry(&format!("m{i}"), "tea", &[1.0, i as f32], r#"{"user_id":"u"}"#)).collect();
        index.upsert(&entries.iter().collect::<Vec<_>>(), 1).unwrap();
        while index.maintain(usize::MAX, 1).unwrap().left > 0 {}
        for nothing in [r#"{"eq":["user_id","v"]}"#, r#"{"or":[]}"#, r#"{"not":{"exists":"memory_id"}}"#] {
            let query = bytes(&[1.0, 0.0]);
            let found = index.search("tea", Some(&query), Some(nothing.as_bytes()), &everything()).unwrap();
            assert_eq!((found.hits, found.visible, found.nothing_relevant), (vec![], 0, true), "{nothing}");
        }
    }
}

#[test]
fn ids_and_texts_of_any_size_are_taken_or_refused() {
    let index = NamespaceIndex::new(2).unwrap();
    let long = "ab ".repeat(MAX_TEXT_BYTES / 3);
    for taken in [entry(&long, "", &[], "{}"), entry("one word", &"b".repeat(MAX_TEXT_BYTES), &[], "{}")] {
        index.upsert(&[&taken], 1).unwrap();
        assert!(index.contains(&taken.memory_id).unwrap());
    }
    let longer = "x".repeat(MAX_TEXT_BYTES + 1);
    for refused in [entry(&longer, "", &[], "{}"), entry("a", &longer, &[], "{}")] {
        assert!(matches!(index.upsert(&[&refused], 1), Err(Error::OutOfRange { .. })));
    }
    assert_eq!(index.len(), 2);
}

#[test]
fn odd_sizes_and_vectors_are_answered() {
    let index = NamespaceIndex::new(2).unwrap();
    let query = bytes(&[1.0, 0.0]);
    assert!(index.search("x", Some(&query), None, &everything()).unwrap().nothing_relevant);
    let zero = entry("zero", "", &[0.0, 0.0], "{}");
    let windows = entry("windows", "", &[0.0, 1.0, 1.0, 0.0], "{}");
    index
        .upsert(&[&zero, &windows, &entry("tiny", "", &[1e-45, 0.0], "{}"), &entry("words", "x", &[], "{}")], 1)
        .unwrap();
    let found = index.search("", Some(&query), None, &everything()).unwrap();
    assert_eq!(ids(&found), ["tiny", "windows", "zero"]);
    assert_eq!(found.hits[1].ranked.candidate.cosine, Some(1.0));
    for (limit, candidates) in [(0, 50), (5, 0), (usize::MAX, usize::MAX)] {
        let options = RankingOptions { limit, candidates, ..everything() };
        assert!(index.search("x", Some(&query), None, &options).unwrap().hits.len() <= limit.min(4));
    }
    assert!(index.search("x", Some(&[]), None, &everything()).is_err());
    assert!(index.search("x", Some(&[query.clone(), query].concat()), None, &everything()).is_err());
    let nan = RankingOptions { vector_weight: f32::NAN, ..everything() };
    assert!(index.search("x", None, None, &nan).is_err());
}

#[test]
fn equal_memories_are_ordered_by_id_whatever_the_insertion_order() {
    let make = |order: &[usize]| {
        let index = NamespaceIndex::new(2).unwrap();
        for i in order {
            index.upsert(&[&entry(&format!("m{i:03}"), "same", &[1.0, 0.0], "{}")], 1).unwrap();
        }
        let found = index.search("same", Some(&bytes(&[1.0, 0.0])), None, &RankingOptions::default()).unwrap();
        ids(&found).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let ascending: Vec<usize> = (0..200).collect();
    let descending: Vec<usize> = (0..200).rev().collect();
    assert_eq!(make(&ascending), ["m000", "m001", "m002", "m003", "m004"]);
    assert_eq!(make(&descending), make(&ascending));
}

#[test]
fn a_namespace_that_outgrows_the_scan_answers_as_before() {
    let index = NamespaceIndex::new(2).unwrap();
    let make = |i: usize| {
        let angle = i as f32 * 1e-4;
        entry(&format!("m{i:05}"), "", &[angle.cos(), angle.sin()], r#"{"user_id":"u"}"#)
    };
    let entries: Vec<Entry> = (0..20_000).map(make).collect();
    index.upsert(&entries.iter().collect::<Vec<_>>(), 1).unwrap();
    let middle = bytes(&[1f32.cos(), 1f32.sin()]);
    let find = || {
        let options = RankingOptions { limit: 3, ..everything() };
        let mut found = index.search("", Some(&middle), Some(br#"{"eq":["user_id","u"]}"#), &options).unwrap().hits;
        found.sort_by(|a, b| a.memory_id.cmp(&b.memory_id));
        found
            .into_iter()
            .map(|hit| (hit.memory_id, (hit.ranked.candidate.cosine.unwrap() * 100.0).round()))
            .collect::<Vec<_>>()
    };
    let near = |hits: Vec<(String, f32)>| hits.len() == 3 && hits.iter().all(|hit| hit.1 >= 99.0);
    assert!(near(find()), "not linked yet");
    let mut linked = 0;
    loop {
        let work = index.maintain(5_000, 2).unwrap();
        linked += work.linked;
        if work.left == 0 {
            break;
        }
    }
    assert_eq!(linked, 20_000);
    assert!(near(find()), "linked");
    let ids: Vec<String> = (9_000..11_000).map(|i| format!("m{i:05}")).collect();
    assert_eq!(index.remove(&ids.iter().map(String::as_str).collect::<Vec<_>>(), 2), Ok(2_000));
    assert!(find().iter().all(|hit| !ids.contains(&hit.0)), "removed at once");
    let mut repaired = 0;
    while repaired == 0 {
        repaired = index.maintain(5_000, 2).unwrap().repaired;
    }
    assert_eq!(repaired, 2_000);
    assert!(near(find()), "repaired");
}

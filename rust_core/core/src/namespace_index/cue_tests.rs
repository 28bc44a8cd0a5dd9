//! The cues through the whole search, from stored text and fields to hits.

use proptest::prelude::*;

use super::*;
use crate::rank::{Cues, RankingOptions};

const DAY_US: i64 = 86_400_000_000;
/// Wednesday, 2023-05-10.
const SAID: i64 = 19_487 * DAY_US;

fn turn(id: &str, position: i64, speaker: &str, text: &str) -> Entry {
    Entry {
        memory_id: id.into(),
        version: 1,
        text: format!("{speaker}: {text}"),
        embeddings: Vec::new(),
        fields: format!(
            r#"{{"session_id":"s","position":{position},"speaker":"{speaker}","event_time":{}}}"#,
            SAID + position
        )
        .into(),
    }
}

fn fact(id: &str, text: &str) -> Entry {
    Entry { memory_id: id.into(), version: 1, text: text.into(), embeddings: Vec::new(), fields: b"{}".to_vec() }
}

fn index(entries: &[Entry]) -> NamespaceIndex {
    let index = NamespaceIndex::new(2).unwrap();
    index.upsert(&entries.iter().collect::<Vec<_>>(), 1).unwrap();
    index
}

fn with(cues: Cues) -> RankingOptions {
    RankingOptions { limit: 100, trim_ratio: 0.0, cues, now_us: Some(SAID + 7 * DAY_US), ..RankingOptions::default() }
}

fn found(index: &NamespaceIndex, query: &str, cues: Cues) -> Vec<Hit> {
    index.search(query, None, None, &with(cues)).unwrap().hits
}

fn ids(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.memory_id.as_str()).collect()
}

#[test]
fn an_answer_without_a_word_of_the_query_comes_along_with_its_question() {
    let stored = index(&[
        turn("question", 0, "Ada", "Which city did you move to last spring?"),
        turn("answer", 1, "Bob", "Lyon, it has lovely bridges over two rivers and very good bread everywhere"),
        turn("far", 9, "Bob", "My bicycle is blue"),
    ]);
    assert_eq!(ids(&found(&stored, "city to move to", Cues::OFF)), ["question"]);
    let cued = found(&stored, "city to move to", Cues::default());
    assert_eq!(ids(&cued)[..2], ["question", "answer"]);
    let parts = cued[1].ranked.cues;
    assert!(parts.reply > 0.0 && parts.neighbours > 0.0 && parts.context_words > 0.0);
    assert!(cued[1].ranked.candidate.matched_terms == 0 && cued[1].ranked.candidate.traits.beside_only);
}

#[test]
fn what_a_filter_hides_neither_comes_along_nor_lends() {
    let stored = index(&[
        turn("question", 0, "Ada", "Which city did you move to?"),
        turn("answer", 1, "Bob", "Lyon, I like the bridges"),
        turn("bridge", 5, "Bob", "Which bridge is the longest?"),
    ]);
    let search = |filter: &[u8]| stored.search("city bridges", None, Some(filter), &with(Cues::default())).unwrap();
    let hidden = search(br#"{"eq":["speaker","Bob"]}"#);
    assert!(!ids(&hidden.hits).contains(&"question"));
    let answer = &hidden.hits.iter().find(|hit| hit.memory_id == "answer").unwrap().ranked;
    assert_eq!((answer.cues.reply, answer.candidate.traits.before), (0.0, None));
}

#[test]
fn speakers_and_times_of_the_query_lift_their_memories() {
    let stored = index(&[
        turn("ada", 0, "Ada Lovelace", "I went to the concert yesterday with my sister and her friends"),
        turn("bob", 20, "Bob", "I will go to a concert in December with Ada and all our old friends"),
    ]);
    let first = |query: &str, cues| found(&stored, query, cues)[0].clone();
    let speaker = Cues { speaker: 0.3, ..Cues::OFF };
    assert_eq!(first("Bob's concert?", speaker).memory_id, "bob");
    assert_eq!(first("the concert of lovelace", speaker).memory_id, "ada");
    let date = Cues { date: 0.5, ..Cues::OFF };
    assert_eq!(first("a concert on 9 May 2023", date).memory_id, "ada");
    assert_eq!(first("a concert in December", date).memory_id, "bob");
    let dated = |query: &str| found(&stored, query, date).iter().filter(|hit| hit.ranked.cues.date > 0.0).count();
    assert_eq!((dated("concert last week"), dated("concert last month"), dated("concert")), (2, 0, 0));
}

#[test]
fn code_is_found_in_parts_and_misspelt_words_are_found() {
    let stored = index(&[
        fact("fix", "The crash in parseHttpHeader (src/net/http_client.rs) was error E0308"),
        fact("other", "Deploy the frontend with the release script"),
        fact("guitar", "Ada plays the guitar"),
    ]);
    for query in ["http header", "E0308", "http_client", "client.rs", "parseHttpHeader", "parse header"] {
        assert_eq!(ids(&found(&stored, query, Cues::default())), ["fix"], "{query}");
    }
    assert_eq!(ids(&found(&stored, "gutiar", Cues::default())), ["guitar"]);
    assert_eq!(ids(&found(&stored, "gutiar", Cues::OFF)), Vec::<&str>::new());
}

#[test]
fn five_scripts_are_searched_by_their_own_words() {
    // Script, memories, and a query with the place of what it should find.
    let sets: [(&str, [&str; 3], &str, usize); 6] = [
        ("Cyrillic", ["Анна купила зелёный чай", "Борис едет в Лион", "Собаку зовут Рекс"], "зелёный чай", 0),
        ("Greek", ["Η Άννα μένει στη Λυών", "Ο σκύλος λέγεται Ρεξ", "Αγόρασε πράσινο τσάι"], "ΣΚΎΛΟΣ", 1),
        ("Arabic", ["اشترت آنا شايا أخضر", "يسافر بوب إلى ليون", "اسم الكلب ريكس"], "اسم الكلب", 2),
        ("Devanagari", ["अन्ना ने हरी चाय खरीदी", "बॉब ल्यों जाता है", "कुत्ते का नाम रेक्स है"], "हरी चाय", 0),
        ("Han", ["安娜买了绿茶", "鲍勃去里昂", "狗的名字叫雷克斯"], "里昂", 1),
        ("Kana", ["アンナは緑茶を買った", "ボブはリヨンに行く", "犬の名前はレックスです"], "レックス", 2),
    ];
    for (script, texts, query, expected) in sets {
        let entries: Vec<Entry> = texts.iter().enumerate().map(|(at, text)| fact(&at.to_string(), text)).collect();
        let hits = found(&index(&entries), query, Cues::default());
        assert_eq!(hits.first().map(|hit| hit.memory_id.clone()), Some(expected.to_string()), "{script}");
    }
}

/// What the words of a query are worth at a slot: each from where it counts most, by the definition.
fn context_oracle(stored: &State, slot: u32, query: &str, near: f32) -> f32 {
    let terms = stored.query(query, &with(Cues::OFF)).terms;
    let parts = |slot: u32| {
        let mut parts = vec![0.0; terms.len()];
        stored.words.parts(slot, &terms, &mut parts);
        parts
    };
    let (own, beside) = (parts(slot), stored.conversations.beside(slot));
    let shares = [near * 0.6, near, near, near * 0.6];
    (0..terms.len())
        .map(|term| {
            let lent = beside.iter().zip(shares).filter_map(|(other, share)| Some(share * parts((*other)?)[term]));
            lent.fold(own[term], f32::max) - own[term]
        })
        .sum()
}

proptest! {
    #[test]
    fn context_words_are_their_definition_and_explain_adds_up(
        turns in proptest::collection::vec(("[a-d]{1,2}( [a-d]{1,2}){0,4}[.?]", 0i64..12, any::<bool>()), 1..14),
        query in "[a-d]{1,2}( [a-d]{1,2}){0,3}", near in 0.1f32..=1.0,
    ) {
        let entries: Vec<Entry> = turns
            .iter()
            .enumerate()
            .map(|(at, (text, position, ada))| turn(&format!("m{at:02}"), *position, if *ada { "Ada" } else { "Bob" }, text))
            .collect();
        let stored = index(&entries);
        let cues = Cues { context_words: near, spelling: 0.0, ..Cues::default() };
        let hits = found(&stored, &query, cues);
        let state = stored.read().unwrap();
        for hit in &hits {
            let expected = context_oracle(&state, hit.ranked.candidate.slot, &query, near);
            prop_assert!((hit.ranked.candidate.context - expected).abs() < 1e-4);
            let parts = hit.ranked.cues;
            let scale = 1.0 / (1.0 + cues.neighbours + cues.reply + cues.speaker + cues.date + cues.recency + cues.importance);
            let base = scale * hit.ranked.word_part;
            let given = parts.neighbours + parts.reply + parts.speaker + parts.date + parts.recency + parts.importance;
            let sum = base + given - parts.turn - parts.diversity;
            prop_assert!((hit.ranked.score - sum).abs() < 1e-4, "{:?}", hit);
        }
    }
}

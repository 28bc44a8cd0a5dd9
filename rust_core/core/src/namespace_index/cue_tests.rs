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
fn names_count_more_in_facts_and_a_first_name_is_the_person() {
    let stored = index(&[
        fact("ada", "Ada likes tea"),
        fact("byron", "Ada Byron drinks hot tea"),
        fact("full", "Ada Lovelace has a cat"),
        fact("tea", "hot tea, a hot drink"),
        turn("turn", 0, "Ada", "hot tea"),
    ]);
    let off = |id: &str, query: &str, cues| {
        let hits = found(&stored, query, cues);
        hits.iter().find(|hit| hit.memory_id == id).unwrap().ranked.candidate.names
    };
    let more = Cues { names: 0.5, ..Cues::OFF };
    assert!(off("ada", "does Ada drink?", more) > 0.0);
    assert_eq!((off("ada", "does ada drink?", more), off("turn", "does Ada drink?", more)), (0.0, 0.0));
    let whole = Cues { full_name: 1.0, ..Cues::OFF };
    let [first, other, full, none] = ["ada", "byron", "full", "tea"].map(|id| off(id, "Ada Lovelace hot tea", whole));
    assert!(first > 0.0 && other < 0.0, "{first} {other}");
    assert_eq!((full, none), (0.0, 0.0));
    assert_eq!(ids(&found(&stored, "does Ada Lovelace drink tea?", Cues { names: 0.5, ..whole }))[0], "ada");
}

#[test]
fn words_that_only_say_when_can_be_left_out() {
    let stored = index(&[fact("due", "The release is due in June"), fact("lead", "The lead of the release is Ada")]);
    let query = "Who was the lead of the release in June 2023?";
    let scores = |taken: f32| {
        let hits = found(&stored, query, Cues { date_words: taken, ..Cues::OFF });
        ["due", "lead"].map(|id| hits.iter().find(|hit| hit.memory_id == id).unwrap().ranked.candidate.bm25)
    };
    let only_when = |taken: f32| found(&stored, "June 2023", Cues { date_words: taken, ..Cues::OFF }).len();
    assert_eq!((only_when(0.0), only_when(0.9), only_when(1.0)), (1, 1, 0));
    let ([due, lead], [due_half, lead_half], [due_off, lead_off]) = (scores(0.0), scores(0.5), scores(1.0));
    assert!(due > due_half && due_half > due_off && due_off > 0.0);
    assert_eq!((lead, lead), (lead_half, lead_off));
    // Said outside of the date as well, it is a word like any other.
    let stored = index(&[fact("may", "May knows it")]);
    let again = |taken| found(&stored, "Ask May, in May 2023", Cues { date_words: taken, ..Cues::OFF })[0].clone();
    assert_eq!(again(0.0).ranked.candidate.bm25, again(1.0).ranked.candidate.bm25);
}

#[test]
fn what_was_said_at_another_time_of_the_session_is_no_turn_beside() {
    let said = |id: &str, place: &str, hours: i64, text: &str| Entry {
        fields: format!(r#"{{"session_id":"s"{place},"event_time":{}}}"#, SAID + hours * DAY_US / 24).into(),
        ..fact(id, text)
    };
    let ada = r#","speaker":"Ada""#;
    let at = |place: i64| format!(r#","position":{place}"#);
    let stored = index(&[
        said("q", &at(0), 0, "Which city?"),
        said("next", &at(1), 24, "Lyon it is"),
        said("week", &at(2), 200, "I like bridges"),
        said("fact", ada, 201, "My bicycle is blue"),
        said("hour", ada, 202, "and fast"),
        said("later", ada, 204, "but old"),
    ]);
    assert_eq!(ids(&found(&stored, "city", Cues::default())), ["q", "next"]);
    let state = stored.read().unwrap();
    let slot = |id: &str| state.ids.find(id).unwrap();
    let near = |id: &str| {
        let beside = state.beside(slot(id)).into_iter().flatten();
        beside.filter_map(|near| state.ids.get(near)).map(|entry| entry.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(["q", "next", "week"].map(near), [vec!["next"], vec!["q"], vec!["fact"]]);
    assert_eq!(["fact", "hour", "later"].map(near), [vec!["week", "hour"], vec!["fact"], vec![]]);
    let turn = |id| state.is_turn(slot(id), state.fields.string(crate::fields::column::SPEAKER, slot(id)));
    assert_eq!(["q", "week", "fact", "later"].map(turn), [true, true, true, false]);
}

/// A fact of some user; `versions`: what it took the place of and what took its place.
fn version(id: &str, user: &str, valid: bool, versions: [&str; 2], text: &str) -> Entry {
    let named = ["supersedes", "superseded_by"].iter().zip(versions).filter(|(_, id)| !id.is_empty());
    let links: String = named.map(|(field, id)| format!(r#","{field}":"{id}""#)).collect();
    Entry { fields: format!(r#"{{"user_id":"{user}","pinned":{valid}{links}}}"#).into(), ..fact(id, text) }
}

fn valid_now(index: &NamespaceIndex, query: &str, versions: Option<&[u8]>, cues: Cues) -> Vec<Hit> {
    let sight = Sight { filter: Some(br#"{"eq":["pinned",true]}"#), versions };
    index.search_with(query, None, sight, &with(cues), &crate::index::SearchOptions::default()).unwrap().hits
}

#[test]
fn the_valid_version_has_the_evidence_of_the_others_as_far_as_they_may_be_seen() {
    let stored = index(&[
        version("old", "u", false, ["", "new"], "Heron stores its data in Postgres"),
        version("new", "u", true, ["old", "next"], "Heron moved over to MySQL"),
        version("next", "u", false, ["new", ""], "Heron keeps records in Oracle"),
        version("other", "u", true, ["", ""], "Basalt stores its data in Oracle"),
    ]);
    let query = "Where does Heron store its data?";
    let [off, on] = [0.0, 1.0].map(|versions| Cues { versions, ..Cues::OFF });
    let all = br#"{"eq":["user_id","u"]}"#;
    assert_eq!(ids(&valid_now(&stored, query, Some(all), off)), ["other", "new"]);
    let hits = valid_now(&stored, query, Some(all), on);
    assert_eq!(ids(&hits), ["new", "other"]);
    assert!(hits[0].ranked.cues.versions > 0.0 && hits[0].ranked.candidate.bm25 < hits[1].ranked.candidate.bm25);
    // What is valid later lends as well, what the asker may not see does not, nor what stands behind it.
    assert_eq!(ids(&valid_now(&stored, "records of Oracle", Some(all), on)).len(), 1);
    assert_eq!(ids(&valid_now(&stored, "Heron records", Some(all), on)), ["new"]);
    for none in [None, Some(&br#"{"eq":["user_id","w"]}"#[..]), Some(br#"{"eq":["memory_id","next"]}"#)] {
        assert_eq!(ids(&valid_now(&stored, query, none, on)), ["other", "new"]);
    }
}

proptest! {
    #[test]
    fn a_version_is_lent_the_best_of_its_chain_and_no_more(
        texts in proptest::collection::vec("[a-c]{1,2}( [a-c]{1,2}){0,3}", 1..6), valid in 0usize..6, seen in 0u32..64,
        query in "[a-c]{1,2}( [a-c]{1,2}){0,2}", share in 0.1f32..=1.0,
    ) {
        let valid = valid.min(texts.len() - 1);
        let id = |at: Option<usize>| at.filter(|at| *at < texts.len()).map(|at| format!("m{at}")).unwrap_or_default();
        let entries: Vec<Entry> = texts.iter().enumerate().map(|(at, text)| {
            let links = [id(at.checked_sub(1)), id(Some(at + 1))];
            let user = if seen >> at & 1 == 1 { "u" } else { "w" };
            version(&id(Some(at)), user, at == valid, [&links[0], &links[1]], text)
        }).collect();
        let stored = index(&entries);
        let cues = Cues { versions: share, ..Cues::OFF };
        let hits = valid_now(&stored, &query, Some(br#"{"eq":["user_id","u"]}"#), cues);
        let state = stored.read().unwrap();
        let terms = state.query(&query, &with(Cues::OFF)).terms;
        let score = |at: usize| state.words.score(state.ids.find(&format!("m{at}")).unwrap(), &terms).0;
        let sees = |at: &usize| seen >> at & 1 == 1;
        let lenders = (0..valid).rev().take_while(sees).chain((valid + 1..texts.len()).take_while(sees));
        let expected = lenders.map(|at| share * (score(at) - score(valid))).fold(0.0, f32::max);
        for hit in hits {
            prop_assert!((hit.ranked.candidate.lent.words - expected).abs() < 1e-5);
        }
    }
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

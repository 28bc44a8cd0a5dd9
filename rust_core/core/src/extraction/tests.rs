use proptest::prelude::*;

use super::vectors::words;
use super::*;

fn counter() -> TokenCounter {
    TokenCounter::new("o200k_base").unwrap()
}

fn of(texts: &[&'static str]) -> Vec<Sentence<'static>> {
    texts.iter().map(|text| Sentence { text, label: 0, value: 0.5 }).collect()
}

#[test]
fn words_are_runs_joined_by_single_marks() {
    let found: Vec<&str> = words("It's db-7.local, v1.2.3-rc_1 -- a-'b'. x.").collect();
    assert_eq!(found, ["It's", "db-7.local", "v1.2.3-rc_1", "a", "b", "x"]);
    assert_eq!(words(" ... -' ").count(), 0);
    assert_eq!(words("日本語 и ß").collect::<Vec<_>>(), ["日本語", "и", "ß"]);
}

#[test]
fn a_near_copy_says_nothing_new() {
    let sentences = of(&["The port is 5432.", "THE PORT IS 5432 !!!", "Tea is served at noon."]);
    let text = extract(&counter(), &sentences, &["user: "], 100).unwrap();
    assert_eq!(text, "user: The port is 5432. Tea is served at noon.");
}

#[test]
fn what_is_worth_most_is_kept_and_shown_in_order() {
    let mut sentences = of(&["One thing was said.", "Another matter came up.", "Then lunch was eaten."]);
    sentences[2].value = 2.0;
    (sentences[1].label, sentences[2].label) = (1, 1);
    let text = extract(&counter(), &sentences, &["user: ", "error: "], 9).unwrap();
    assert_eq!(text, "error: Then lunch was eaten.");
    let text = extract(&counter(), &sentences, &["user: ", "error: "], 100).unwrap();
    assert_eq!(text, "user: One thing was said.\nerror: Another matter came up. Then lunch was eaten.");
}

#[test]
fn bad_sentences_are_refused() {
    let mut sentences = of(&["One."]);
    assert!(extract(&counter(), &sentences, &[], 100).is_err());
    sentences[0].value = f64::NAN;
    assert!(extract(&counter(), &sentences, &["a: "], 100).is_err());
    assert_eq!(extract(&counter(), &[], &[], 100).unwrap(), "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn exact_within_the_budget_and_nothing_but_the_sentences(
        texts in proptest::collection::vec(("[ab .!\\-'_1é日]{0,30}", 0usize..4, 0f64..2.0), 0..20),
        max_tokens in 0usize..80,
    ) {
        let sentences: Vec<Sentence<'_>> =
            texts.iter().map(|(text, label, value)| Sentence { text, label: *label, value: *value }).collect();
        let labels = ["user: ", "", "error: ", "tool x [ok]: "];
        let text = extract(&counter(), &sentences, &labels, max_tokens).unwrap();
        prop_assert!(counter().count(&text) <= max_tokens);
        prop_assert_eq!(&text, &extract(&counter(), &sentences, &labels, max_tokens).unwrap());
        let all = render(&(0..sentences.len()).collect::<Vec<_>>(), &sentences, &labels);
        prop_assert!(words(&text).all(|word| all.contains(word)));
    }
}

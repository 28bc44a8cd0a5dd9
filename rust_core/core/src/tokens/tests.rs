use proptest::prelude::*;

use super::*;

fn check(text: &str) {
    let reference = [tiktoken_rs::o200k_base_singleton(), tiktoken_rs::cl100k_base_singleton()];
    for (name, reference) in ["o200k_base", "cl100k_base"].into_iter().zip(reference) {
        let counter = TokenCounter::new(name).unwrap();
        assert_eq!(counter.count(text), reference.encode_ordinary(text).len(), "{name} {text:?}");
    }
}

#[test]
fn unknown_encodings_are_refused() {
    assert_eq!(TokenCounter::new("p50k_base").err(), Some(Error::UnknownEncoding));
}

#[test]
fn nasty_texts_count_as_in_the_reference() {
    let fixed = [
        "",
        " ",
        "  ",
        "\n",
        "\r\n",
        "a\n  ",
        "\n  ",
        "  \n b",
        "a  \n\n  b",
        "it's IT'S It'ſ we'Re I'LL 'll' ''s",
        "ABCdef",
        "HELLOworld",
        "ǅabc",
        "1234567890",
        "１２３４",
        "a\u{301}\u{301}B",
        "\u{301}\u{302}",
        "x\u{200d}y",
        "👩‍👩‍👧‍👦🏳️‍🌈",
        "日本語のテキスト、中文。한국어",
        "foo/bar//\n//x",
        "...\n\n/x",
        "\t\t\tindent",
        "\u{0}\u{1}\u{7f}",
        "<|endoftext|>",
        "\u{feff}bom",
        "\u{85}\u{2028}\u{3000} x",
        "!!!???---===",
        " \u{a0} \u{a0}x",
        "don’t",
        "ʰʱA",
        "Aʰʱ",
        "AʰB",
        "ÀÉÎ",
        "ßẞ",
        "if (x == 1) {\n\treturn y;\n}\n",
    ];
    fixed.into_iter().for_each(check);
}

#[test]
fn long_runs_of_one_character_count_as_in_the_reference() {
    for unit in ["a", " ", "\n", "!", "0", "é", "日", "ab", " a", "=-", "\t "] {
        for times in [2, 3, 63, 64, 65, 127, 128, 129, 130, 257, 3000] {
            check(&unit.repeat(times));
        }
    }
}

#[test]
fn a_million_letters_do_not_take_quadratic_time() {
    let counter = TokenCounter::new("o200k_base").unwrap();
    assert!(counter.count(&"a".repeat(1_000_000)) >= 1_000_000 / 128);
}

#[test]
fn every_code_point_alone_and_between_letters() {
    for block in (0..0x11_0000u32).collect::<Vec<_>>().chunks(64) {
        let text: String =
            block.iter().filter_map(|&c| char::from_u32(c)).flat_map(|c| ['a', c, 'B', ' ', c, c, '\n']).collect();
        check(&text);
    }
}

#[test]
fn the_vocabulary_finds_each_of_its_tokens() {
    for name in ["o200k_base", "cl100k_base"] {
        let counter = TokenCounter::new(name).unwrap();
        assert!(counter.vocabulary().all(|(token, rank)| counter.vocabulary.rank(token) == Some(rank)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_texts_count_as_in_the_reference(text in "\\PC{0,60}") {
        check(&text);
    }

    #[test]
    fn adversarial_mixtures_count_as_in_the_reference(
        text in "[ \t\n\r/'a-eSTLVEMRDlstvremdA-C0-9ſéÉʰǅ日\u{301}\u{a0}\u{85}.,!_👍-]{0,40}",
    ) {
        check(&text);
    }

    #[test]
    fn both_merges_agree(bytes in proptest::collection::vec(any::<u8>(), 2..=128)) {
        let v = &vocabulary::O200K_BASE;
        prop_assert_eq!(merge::merge_flat(v, &bytes), merge::merge_heap(v, &bytes));
    }
}

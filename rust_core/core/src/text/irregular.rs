//! English words whose forms no suffix rule joins: a question says "buy" where the memory says "bought".

/// Form and base, sorted by form. Only forms that are hardly ever another word ("left", "saw", "found" are taken: their
/// other readings are rare in what people tell).
#[rustfmt::skip]
const BASES: [(&str, &str); 106] = [
    ("ate", "eat"), ("became", "become"), ("began", "begin"), ("begun", "begin"), ("bitten", "bite"), ("blew", "blow"),
    ("bought", "buy"), ("broke", "break"), ("broken", "break"), ("brought", "bring"), ("built", "build"),
    ("came", "come"), ("caught", "catch"), ("children", "child"), ("chose", "choose"), ("chosen", "choose"),
    ("dealt", "deal"), ("done", "do"), ("drank", "drink"), ("drawn", "draw"), ("drew", "draw"), ("driven", "drive"),
    ("drove", "drive"), ("drunk", "drink"), ("dug", "dig"), ("eaten", "eat"), ("fallen", "fall"), ("fed", "feed"),
    ("feet", "foot"), ("fell", "fall"), ("felt", "feel"), ("flew", "fly"), ("flown", "fly"), ("forgot", "forget"),
    ("forgotten", "forget"), ("fought", "fight"), ("found", "find"), ("froze", "freeze"), ("frozen", "freeze"),
    ("gave", "give"), ("geese", "goose"), ("given", "give"), ("gone", "go"), ("got", "get"), ("gotten", "get"),
    ("grew", "grow"), ("grown", "grow"), ("heard", "hear"), ("held", "hold"), ("hid", "hide"), ("hidden", "hide"),
    ("hung", "hang"), ("kept", "keep"), ("knew", "know"), ("known", "know"), ("led", "lead"), ("left", "leave"),
    ("lent", "lend"), ("lost", "lose"), ("made", "make"), ("meant", "mean"), ("men", "man"), ("met", "meet"),
    ("mice", "mouse"), ("paid", "pay"), ("people", "person"), ("ran", "run"), ("ridden", "ride"), ("rode", "ride"),
    ("said", "say"), ("sang", "sing"), ("sat", "sit"), ("saw", "see"), ("seen", "see"), ("sent", "send"),
    ("shook", "shake"), ("shot", "shoot"), ("shown", "show"), ("slept", "sleep"), ("sold", "sell"), ("spent", "spend"),
    ("spoke", "speak"), ("spoken", "speak"), ("stole", "steal"), ("stolen", "steal"), ("stood", "stand"),
    ("sung", "sing"), ("swam", "swim"), ("swum", "swim"), ("taken", "take"), ("taught", "teach"), ("teeth", "tooth"),
    ("thought", "think"), ("threw", "throw"), ("thrown", "throw"), ("told", "tell"), ("took", "take"),
    ("understood", "understand"), ("went", "go"), ("woke", "wake"), ("women", "woman"), ("won", "win"), ("wore", "wear"),
    ("worn", "wear"), ("written", "write"), ("wrote", "write"),
];

/// The base of an irregular form, the word itself otherwise. Lower case.
pub fn base_form(word: &str) -> &str {
    BASES.binary_search_by_key(&word, |(form, _)| form).map_or(word, |at| BASES[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_so_that_each_form_is_found() {
        assert!(BASES.is_sorted_by_key(|(form, _)| form));
        assert_eq!((base_form("bought"), base_form("wrote"), base_form("tea")), ("buy", "write", "tea"));
    }
}

//! Compound words of code: `snake_case`, `CamelCase`, `file.rs`, `HTTP404`. Agents remember code, and ask for it in parts.

/// Shorter parts tell nothing apart.
const MIN_PART_CHARS: usize = 2;

/// The parts of a compound word; none when the word is not compound.
pub fn parts(word: &str) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    if word.bytes().all(|b| b.is_ascii_lowercase()) {
        return found; // most words
    }
    for piece in word.split(['_', '.', ':']) {
        split_case(piece, &mut found);
    }
    // A number with a point is one number; so is what has one part and nothing around it.
    if found.len() == 1 && found[0] == word || word.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Vec::new();
    }
    found.retain(|part| part.chars().nth(MIN_PART_CHARS - 1).is_some());
    found
}

/// Cut before an upper case letter that follows a lower case one or precedes one inside a run of upper case, and where two
/// or more upper case letters run into digits ("HTTP404"). "user42", "E0308", "3rd" stay whole: "user" or "0308" alone is
/// another thing.
fn split_case<'a>(piece: &'a str, found: &mut Vec<&'a str>) {
    let chars: Vec<(usize, char)> = piece.char_indices().collect();
    let mut start = 0;
    for at in 1..chars.len() {
        let (before, here) = (chars[at - 1].1, chars[at].1);
        let next = chars.get(at + 1).map_or(' ', |c| c.1);
        let camel = here.is_uppercase() && (before.is_lowercase() || before.is_uppercase() && next.is_lowercase());
        let code = here.is_ascii_digit() && before.is_uppercase() && at > 1 && chars[at - 2].1.is_uppercase();
        if camel || code {
            found.push(&piece[start..chars[at].0]);
            start = chars[at].0;
        }
    }
    if start < piece.len() {
        found.push(&piece[start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compounds_have_parts_and_words_have_none() {
        assert_eq!(parts("max_retry_count"), ["max", "retry", "count"]);
        assert_eq!(parts("getUserName"), ["get", "User", "Name"]);
        assert_eq!(parts("HTTPServerError"), ["HTTP", "Server", "Error"]);
        assert_eq!(parts("HTTP404"), ["HTTP", "404"]);
        assert_eq!(parts("main.rs"), ["main", "rs"]);
        for whole in ["tea", "Ada", "NASA", "3.5", "3rd", "E0308", "user42", "don't", "10,000", "\u{1f600}", ""] {
            assert_eq!(parts(whole), Vec::<&str>::new(), "{whole}");
        }
    }
}

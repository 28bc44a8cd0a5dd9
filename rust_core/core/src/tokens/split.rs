//! Pre-tokenisation: where the patterns of `o200k_base` and `cl100k_base` cut a text.
//!
//! Written out by hand because the patterns need look-ahead and back-tracking, which a regular expression engine pays for
//! on every character. Each function quotes the alternative it implements, in the order of the pattern; the tests compare
//! with the reference engine.

use super::classes::{LETTER, LOWER, NUMBER, SPACE, UPPER, class_of};

/// Which pattern cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Of `o200k_base`.
    O200k,
    /// Of `cl100k_base`.
    Cl100k,
}

/// The length in bytes of the first piece of `text`, which must not be empty.
#[inline]
pub fn piece_len(pattern: Pattern, text: &str) -> usize {
    match pattern {
        Pattern::O200k => o200k_piece(text),
        Pattern::Cl100k => cl100k_piece(text),
    }
}

#[inline]
fn first(text: &str, at: usize) -> Option<(char, u8, usize)> {
    let byte = *text.as_bytes().get(at)?;
    let c = if byte < 128 { byte as char } else { text[at..].chars().next()? };
    Some((c, class_of(c), c.len_utf8()))
}

/// End of the run of characters from `at` that have one of `classes`.
#[inline]
fn run(text: &str, mut at: usize, classes: u8) -> usize {
    while let Some((_, class, len)) = first(text, at) {
        if class & classes == 0 {
            break;
        }
        at += len;
    }
    at
}

fn o200k_piece(text: &str) -> usize {
    let (c, class, len) = first(text, 0).expect("text is not empty");
    let prefix = if class & (LETTER | NUMBER) == 0 && c != '\r' && c != '\n' { len } else { 0 };
    let word = (prefix > 0)
        .then(|| mixed_word(text, prefix))
        .flatten()
        .or_else(|| mixed_word(text, 0))
        .or_else(|| (prefix > 0).then(|| upper_word(text, prefix)).flatten())
        .or_else(|| upper_word(text, 0));
    if let Some(end) = word {
        return end + contraction(&text[end..]);
    }
    if class & NUMBER != 0 {
        return up_to_three_numbers(text);
    }
    if let Some(end) = punctuation(text, c, true) {
        return end;
    }
    let end = run(text, 0, SPACE);
    last_line_break(text, end).map_or_else(|| spaces(text, end), |at| at + 1)
}

/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`: the second class gives back what the first took too much.
fn mixed_word(text: &str, start: usize) -> Option<usize> {
    let mut upper_end = start;
    let mut shared_end = None;
    while let Some((_, class, len)) = first(text, upper_end) {
        if class & UPPER == 0 {
            break;
        }
        upper_end += len;
        if class & LOWER != 0 {
            shared_end = Some(upper_end);
        }
    }
    let lower_end = run(text, upper_end, LOWER);
    if lower_end > upper_end { Some(lower_end) } else { shared_end }
}

/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*`.
fn upper_word(text: &str, start: usize) -> Option<usize> {
    let upper_end = run(text, start, UPPER);
    (upper_end > start).then(|| run(text, upper_end, LOWER))
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)`, 0 when there is none. Case folding makes the long s an s.
fn contraction(text: &str) -> usize {
    let mut chars = text.chars();
    if chars.next() != Some('\'') {
        return 0;
    }
    let (Some(a), b) = (chars.next(), chars.next()) else { return 0 };
    match (a.to_ascii_lowercase(), b.map(|c| c.to_ascii_lowercase())) {
        ('s' | 't' | 'm' | 'd' | 'ſ', _) => 1 + a.len_utf8(),
        ('r' | 'v', Some('e')) | ('l', Some('l')) => 3,
        _ => 0,
    }
}

/// `\p{N}{1,3}`.
fn up_to_three_numbers(text: &str) -> usize {
    let mut at = 0;
    for _ in 0..3 {
        match first(text, at) {
            Some((_, class, len)) if class & NUMBER != 0 => at += len,
            _ => break,
        }
    }
    at
}

/// ` ?[^\s\p{L}\p{N}]+[\r\n/]*`; the slash only in `o200k_base`, where it can only follow a line break here.
fn punctuation(text: &str, first_char: char, slash: bool) -> Option<usize> {
    let start = usize::from(first_char == ' ');
    let mut at = start;
    while let Some((_, class, len)) = first(text, at) {
        if class & (SPACE | LETTER | NUMBER) != 0 {
            break;
        }
        at += len;
    }
    if at == start {
        return None;
    }
    let bytes = text.as_bytes();
    while at < bytes.len() && (bytes[at] == b'\r' || bytes[at] == b'\n' || slash && bytes[at] == b'/') {
        at += 1;
    }
    Some(at)
}

/// Position of the last line break in the white space `text[..end]`: `\s*[\r\n]` takes as much as it can.
fn last_line_break(text: &str, end: usize) -> Option<usize> {
    text.as_bytes()[..end].iter().rposition(|&b| b == b'\r' || b == b'\n')
}

/// `\s+(?!\S)|\s+` on a run of white space without line breaks: all of it at the end of the text, else all but the last.
fn spaces(text: &str, end: usize) -> usize {
    if end == text.len() {
        return end;
    }
    let last = text[..end].chars().next_back().map_or(0, char::len_utf8);
    if end > last { end - last } else { end }
}

fn cl100k_piece(text: &str) -> usize {
    let (c, class, len) = first(text, 0).expect("text is not empty");
    // '(?i:[sdmt]|ll|ve|re)
    if c == '\'' {
        let end = contraction(text);
        if end > 0 {
            return end;
        }
    }
    // [^\r\n\p{L}\p{N}]?+\p{L}++
    let start = if class & (LETTER | NUMBER) == 0 && c != '\r' && c != '\n' { len } else { 0 };
    let end = run(text, start, LETTER);
    if end > start {
        return end;
    }
    if class & NUMBER != 0 {
        return up_to_three_numbers(text);
    }
    if let Some(end) = punctuation(text, c, false) {
        return end;
    }
    // \s++$|\s*[\r\n]|\s+(?!\S)|\s
    let end = run(text, 0, SPACE);
    if end == text.len() {
        return end;
    }
    last_line_break(text, end).map_or_else(|| spaces(text, end), |at| at + 1)
}

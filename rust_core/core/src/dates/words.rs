//! Words and numbers of a text as the date patterns see them.

use std::ops::Range;

/// What stands directly behind a token: only what joins the parts of a date matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joint {
    /// `-` or `/`, nothing else.
    Dash,
    /// Space, a comma, a point followed by space.
    Loose,
    /// The end of a sentence, or of the text.
    End,
}

/// A run of letters or digits, lower case.
#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    pub number: Option<i32>,
    pub joint: Joint,
    /// Where it begins and ends in the text, in bytes.
    pub place: Range<usize>,
}

/// Words longer than this are no part of a date.
const MAX_WORD_CHARS: usize = 12;
/// Tokens looked at: a date beyond is not what a memory or a question is about, and the work stays bounded.
const MAX_TOKENS: usize = 2_000;

/// Cut a text. A number and the letters behind it (`7th`) become the number alone when the letters are an ordinal ending.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    while found.len() < MAX_TOKENS {
        let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) else { break };
        rest = &rest[start..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        let begin = text.len() - rest.len();
        found.push(token(word, joint(behind), begin..begin + end));
        rest = behind;
    }
    found
}

fn token(word: &str, joint: Joint, place: Range<usize>) -> Token {
    if word.len() > MAX_WORD_CHARS {
        return Token { text: String::new(), number: None, joint, place };
    }
    let text = word.to_ascii_lowercase();
    let digits = ["st", "nd", "rd", "th"].iter().find_map(|end| text.strip_suffix(end)).unwrap_or(&text);
    let number = if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None };
    Token { text, number, joint, place }
}

fn joint(behind: &str) -> Joint {
    let mut chars = behind.chars();
    match (chars.next(), chars.next()) {
        (Some('-' | '/'), Some(next)) if next.is_ascii_alphanumeric() => Joint::Dash,
        (None | Some('.' | '?' | '!' | ';' | '\n'), None) => Joint::End,
        (Some('?' | '!' | ';' | '\n'), _) => Joint::End,
        _ => Joint::Loose,
    }
}

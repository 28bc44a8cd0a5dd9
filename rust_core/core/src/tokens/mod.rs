//! Exact byte-pair token counts, equal to `tiktoken`'s `encode_ordinary` (special tokens in a text are plain text).

mod classes;
mod hash;
mod merge;
mod split;
mod vocabulary;

use crate::error::Error;
use split::Pattern;
use vocabulary::Vocabulary;

/// Counts the tokens of one encoding. Holds nothing: the vocabulary is embedded in the library.
#[derive(Clone, Copy)]
pub struct TokenCounter {
    name: &'static str,
    pattern: Pattern,
    vocabulary: &'static Vocabulary,
}

impl TokenCounter {
    /// `o200k_base` or `cl100k_base`; anything else is an error.
    pub fn new(encoding: &str) -> Result<Self, Error> {
        match encoding {
            "o200k_base" => {
                Ok(Self { name: "o200k_base", pattern: Pattern::O200k, vocabulary: &vocabulary::O200K_BASE })
            }
            "cl100k_base" => {
                Ok(Self { name: "cl100k_base", pattern: Pattern::Cl100k, vocabulary: &vocabulary::CL100K_BASE })
            }
            _ => Err(Error::UnknownEncoding),
        }
    }

    /// The name it was made with.
    pub fn encoding(&self) -> &'static str {
        self.name
    }

    /// How many tokens `text` becomes.
    pub fn count(&self, text: &str) -> usize {
        self.pieces(text).map(|piece| merge::count_piece(self.vocabulary, piece.as_bytes())).sum()
    }

    /// Token bytes by rank, without special tokens.
    pub fn vocabulary(&self) -> impl Iterator<Item = (&'static [u8], u32)> + use<> {
        let vocabulary = self.vocabulary;
        (0..vocabulary.len()).map(move |rank| (vocabulary.token(rank), rank))
    }

    fn pieces<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> + use<'t> {
        let pattern = self.pattern;
        let mut rest = text;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (piece, after) = rest.split_at(split::piece_len(pattern, rest));
            rest = after;
            Some(piece)
        })
    }
}

#[cfg(test)]
mod tests;

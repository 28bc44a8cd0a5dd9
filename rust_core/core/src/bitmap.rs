//! A set of slots, one bit each.

/// Bits of a word.
pub const WORD_BITS: usize = u64::BITS as usize;

/// A fixed-length bitmap; bits past the end are always 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    /// All 0.
    pub fn zeros(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(WORD_BITS)], len }
    }

    /// All 1.
    pub fn ones(len: usize) -> Self {
        let mut all = Self { words: vec![u64::MAX; len.div_ceil(WORD_BITS)], len };
        all.clear_past_end();
        all
    }

    /// From words of 64 slots, lowest bit first; bits past `len` are dropped.
    pub fn from_words(words: Vec<u64>, len: usize) -> Self {
        debug_assert_eq!(words.len(), len.div_ceil(WORD_BITS));
        let mut made = Self { words, len };
        made.clear_past_end();
        made
    }

    fn clear_past_end(&mut self) {
        let used = self.len % WORD_BITS;
        if used != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << used) - 1;
        }
    }

    /// Number of bits, set or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bits at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the bit is set; false past the end.
    #[inline]
    pub fn get(&self, at: u32) -> bool {
        self.words.get(at as usize / WORD_BITS).is_some_and(|word| word >> (at as usize % WORD_BITS) & 1 == 1)
    }

    /// Set a bit below `len()`.
    #[inline]
    pub fn set(&mut self, at: u32) {
        debug_assert!((at as usize) < self.len);
        self.words[at as usize / WORD_BITS] |= 1 << (at as usize % WORD_BITS);
    }

    /// Clear a bit below `len()`.
    pub fn clear(&mut self, at: u32) {
        self.words[at as usize / WORD_BITS] &= !(1 << (at as usize % WORD_BITS));
    }

    /// Make it longer (new bits are 0); never shorter.
    pub fn grow(&mut self, len: usize) {
        self.len = self.len.max(len);
        self.words.resize(self.len.div_ceil(WORD_BITS), 0);
    }

    /// The first `len` bits, or all when there are fewer.
    pub fn first(&self, len: usize) -> Self {
        let len = len.min(self.len);
        Self::from_words(self.words[..len.div_ceil(WORD_BITS)].to_vec(), len)
    }

    /// Keep what both have. Lengths must be equal, as in the other connectives.
    pub fn and(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= b);
    }

    /// Drop what the other has.
    pub fn and_not(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= !b);
    }

    /// Add what the other has.
    pub fn or(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a |= b);
    }

    /// Turn every bit over.
    pub fn not(&mut self) {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.clear_past_end();
    }

    /// How many are set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The words, lowest bit first.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Set bits from a multiple of 64 on, ascending.
    pub fn iter_from(&self, first: u32) -> impl Iterator<Item = u32> + '_ {
        debug_assert!((first as usize).is_multiple_of(WORD_BITS));
        let words = self.words.get(first as usize / WORD_BITS..).unwrap_or_default();
        words
            .iter()
            .enumerate()
            .flat_map(move |(at, &word)| set_bits(word).map(move |bit| first + at as u32 * 64 + bit))
    }

    /// Set bits, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.iter_from(0)
    }
}

/// Positions of the set bits of a word, ascending.
#[inline]
pub fn set_bits(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let bit = word.trailing_zeros();
        word &= word - 1;
        Some(bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_leaves_nothing_past_the_end() {
        let mut bits = Bitmap::zeros(70);
        bits.set(69);
        bits.not();
        assert_eq!(bits.count(), 69);
        assert!(!bits.get(69) && bits.get(0) && !bits.get(70) && !bits.get(1000));
        assert_eq!(bits.iter().collect::<Vec<_>>(), (0..69).collect::<Vec<_>>());
        assert_eq!(bits.iter_from(64).collect::<Vec<_>>(), (64..69).collect::<Vec<_>>());
        assert_eq!(bits.iter_from(128).next(), None);
        assert_eq!(Bitmap::ones(70).count(), 70);
    }
}

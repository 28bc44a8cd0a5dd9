//! Bytes of a section, none believed: every length is held against what is left before anything is read or allocated.

use super::error::{Error, corrupt};

const ENDS_EARLY: &str = "a part ends early";

/// What is left of a section. Decoding allocates only in proportion to it.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else { return corrupt(ENDS_EARLY) };
        self.rest = rest;
        Ok(taken)
    }

    /// `count` pieces of `N` bytes.
    fn pieces<const N: usize>(&mut self, count: usize) -> Result<&'a [[u8; N]], Error> {
        let Some(len) = count.checked_mul(N) else { return corrupt(ENDS_EARLY) };
        Ok(self.bytes(len)?.as_chunks().0)
    }

    fn piece<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        Ok(self.pieces(1)?[0])
    }

    pub fn u8(&mut self) -> Result<u8, Error> {
        self.piece::<1>().map(|[byte]| byte)
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        self.piece().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Error> {
        self.piece().map(u64::from_le_bytes)
    }

    pub fn i64(&mut self) -> Result<i64, Error> {
        self.piece().map(i64::from_le_bytes)
    }

    pub fn f64(&mut self) -> Result<f64, Error> {
        self.piece().map(f64::from_le_bytes)
    }

    /// A number of things that follow, each of which takes at least `bytes_each` (1 or more): more than fit is refused.
    pub fn count(&mut self, bytes_each: usize) -> Result<usize, Error> {
        match usize::try_from(self.u64()?) {
            Ok(count) if count <= self.rest.len() / bytes_each => Ok(count),
            _ => corrupt("a count is larger than the file"),
        }
    }

    pub fn u32s(&mut self, count: usize) -> Result<impl ExactSizeIterator<Item = u32> + Clone + 'a, Error> {
        Ok(self.pieces(count)?.iter().map(|piece| u32::from_le_bytes(*piece)))
    }

    pub fn i64s(&mut self, count: usize) -> Result<impl ExactSizeIterator<Item = i64> + 'a, Error> {
        Ok(self.pieces(count)?.iter().map(|piece| i64::from_le_bytes(*piece)))
    }

    pub fn f64s(&mut self, count: usize) -> Result<impl ExactSizeIterator<Item = f64> + 'a, Error> {
        Ok(self.pieces(count)?.iter().map(|piece| f64::from_le_bytes(*piece)))
    }

    pub fn f32s(&mut self, count: usize) -> Result<impl ExactSizeIterator<Item = f32> + 'a, Error> {
        Ok(self.pieces(count)?.iter().map(|piece| f32::from_le_bytes(*piece)))
    }

    /// As `Writer::strings` wrote them.
    pub fn strings(&mut self, count: usize) -> Result<Vec<&'a str>, Error> {
        let lengths = self.u32s(count)?;
        let total: u64 = lengths.clone().map(u64::from).sum();
        let Ok(bytes) = self.bytes(usize::try_from(total).unwrap_or(usize::MAX)).map(str::from_utf8)? else {
            return corrupt("a text is not UTF-8");
        };
        let mut rest = bytes;
        let cut = |length: u32| {
            // None where a length falls inside a character.
            let (string, after) = rest.split_at_checked(length as usize).ok_or(Error::Corrupt("a text is cut"))?;
            rest = after;
            Ok(string)
        };
        lengths.map(cut).collect()
    }

    /// Nothing may be left over.
    pub fn finish(self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { corrupt("a part goes on past its end") }
    }
}

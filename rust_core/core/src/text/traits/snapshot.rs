//! Traits in a snapshot: they come from the texts, which it does not hold.

use super::TextTraits;
use crate::bitmap::Bitmap;
use crate::dates::DayRange;
use crate::snapshot::{Error, Reader, Writer, corrupt};

impl TextTraits {
    /// Those of the slots in use; `all` is by slot.
    pub(crate) fn encode(all: &[Self], out: &mut Writer, live: &Bitmap) {
        let none = Self::default();
        let each = || live.iter().map(|slot| all.get(slot as usize).unwrap_or(&none));
        each().for_each(|traits| out.u8(traits.asks.into()));
        out.u32s(each().map(|traits| traits.dates.len() as u32));
        out.u32s(each().map(|traits| traits.pairs.len() as u32));
        out.u32s(each().map(|traits| traits.alone.len() as u32));
        for day in each().flat_map(|traits| &traits.dates) {
            out.u32s([day.first.cast_unsigned(), day.last.cast_unsigned()]);
        }
        out.u32s(each().flat_map(|traits| traits.pairs.iter().copied()));
        out.u32s(each().flat_map(|traits| traits.alone.iter().copied()));
    }

    /// The opposite of `encode`.
    pub(crate) fn decode(mut reader: Reader, live: &Bitmap) -> Result<Vec<Self>, Error> {
        let count = live.count();
        let asks = reader.bytes(count)?;
        let (dates, pairs, alone) = (reader.u32s(count)?, reader.u32s(count)?, reader.u32s(count)?);
        let mut days = reader.u32s(sum(dates.clone())?.saturating_mul(2))?.map(u32::cast_signed);
        let mut hashes = reader.u32s(sum(pairs.clone())?)?;
        let mut names = reader.u32s(sum(alone.clone())?)?;
        reader.finish()?;
        let mut all = vec![Self::default(); live.len()];
        for ((slot, &asks), ((dates, pairs), alone)) in live.iter().zip(asks).zip(dates.zip(pairs).zip(alone)) {
            let day = |_| {
                let (first, last) = (days.next().unwrap_or_default(), days.next().unwrap_or_default());
                if first <= last { Ok(DayRange { first, last }) } else { corrupt("a date ends before it begins") }
            };
            let dates = (0..dates).map(day).collect::<Result<_, Error>>()?;
            let pairs: Box<[u32]> = (&mut hashes).take(pairs as usize).collect();
            let alone: Box<[u32]> = (&mut names).take(alone as usize).collect();
            let sorted = |hashes: &[u32]| hashes.is_sorted_by(|a, b| a < b);
            if asks > 1 || !sorted(&pairs) || !sorted(&alone) {
                return corrupt("the traits of a text are not what a text can have");
            }
            all[slot as usize] = Self { asks: asks == 1, dates, pairs, alone };
        }
        Ok(all)
    }
}

fn sum(counts: impl Iterator<Item = u32>) -> Result<usize, Error> {
    usize::try_from(counts.map(u64::from).sum::<u64>()).or_else(|_| corrupt("a text has more than fits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traits(first: i32, last: i32, pairs: [u32; 2]) -> Vec<TextTraits> {
        vec![TextTraits {
            asks: true,
            dates: [DayRange { first, last }].into(),
            pairs: pairs.into(),
            alone: [7].into(),
        }]
    }

    fn again(all: &[TextTraits]) -> Result<Vec<TextTraits>, Error> {
        let mut out = Writer::default();
        TextTraits::encode(all, &mut out, &Bitmap::ones(1));
        TextTraits::decode(Reader::new(&out.into_bytes()), &Bitmap::ones(1))
    }

    #[test]
    fn traits_come_back_and_impossible_ones_are_refused() {
        let given = traits(-3, 20_000, [1, u32::MAX]);
        assert_eq!(again(&given).ok(), Some(given));
        assert!(again(&traits(2, 1, [1, 2])).is_err(), "ends before it begins");
        assert!(again(&traits(1, 1, [2, 1])).is_err(), "pairs out of order");
        assert!(again(&traits(1, 1, [2, 2])).is_err(), "a pair twice");
        let mut out = Writer::default();
        TextTraits::encode(&traits(1, 1, [1, 2]), &mut out, &Bitmap::ones(1));
        let mut bytes = out.into_bytes();
        bytes[0] = 2;
        assert!(TextTraits::decode(Reader::new(&bytes), &Bitmap::ones(1)).is_err(), "neither asks nor does not");
    }
}

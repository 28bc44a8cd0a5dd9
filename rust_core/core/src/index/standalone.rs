//! The vector index by itself: what a namespace's search for vectors costs, without ids, words and fields around it.

use std::path::Path;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{
    Maintenance, Prepared, PreparedQuery, SearchOptions, VectorIndex, Vectors, Work, check_dimensions, decode_vectors,
};
use crate::bitmap::{Bitmap, WORD_BITS};
use crate::error::Error;
use crate::snapshot::{self, Container, Expected, Header, Mapped, Reader, Sections, Tag, Writer, corrupt, replace};

const SLOTS: Tag = *b"SLOT";
const VECTORS: Tag = *b"VECT";
const SECTIONS: usize = 2;
const KIND: &str = "vectors alone";
/// Slots there can be: a bit of memory each.
const MAX_SLOTS: u32 = 1 << 28;

/// Vectors by slot, one each.
pub struct StandaloneVectors {
    dimensions: usize,
    state: RwLock<State>,
    maintenance: Maintenance,
}

struct State {
    used: Bitmap,
    vectors: Vectors,
}

impl StandaloneVectors {
    /// For vectors of `dimensions` components, 1 to `MAX_DIMENSIONS`.
    pub fn new(dimensions: usize) -> Result<Self, Error> {
        check_dimensions(dimensions)?;
        let state = State { used: Bitmap::default(), vectors: Vectors::new(dimensions) };
        Ok(Self { dimensions, state: RwLock::new(state), maintenance: Maintenance::default() })
    }

    fn read(&self) -> Result<RwLockReadGuard<'_, State>, Error> {
        self.state.read().map_err(|_| Error::Broken)
    }

    fn write(&self) -> Result<RwLockWriteGuard<'_, State>, Error> {
        self.state.write().map_err(|_| Error::Broken)
    }

    /// Components of a vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Set the vectors of some slots: as many, little-endian float32.
    pub fn add(&self, slots: &[u32], vectors: &[u8]) -> Result<(), Error> {
        let vectors_bytes = vectors.len();
        let vectors = decode_vectors(self.dimensions, vectors)?;
        if vectors.len() != slots.len() {
            return Err(Error::VectorSize { dimensions: self.dimensions, bytes: vectors_bytes });
        }
        if slots.iter().any(|&slot| slot >= MAX_SLOTS) {
            return Err(Error::OutOfRange { what: "a slot", bounds: "below 268435456" });
        }
        let prepared: Vec<Prepared> = vectors.iter().map(|vector| Prepared::new(vector)).collect();
        let mut state = self.write()?;
        for (&slot, vector) in slots.iter().zip(&prepared) {
            state.used.grow(slot as usize + 1);
            state.used.set(slot);
            state.vectors.insert(slot, std::slice::from_ref(vector));
        }
        Ok(())
    }

    /// Returns how many of them had one.
    pub fn remove(&self, slots: &[u32]) -> Result<usize, Error> {
        let mut state = self.write()?;
        let mut removed = 0;
        for &slot in slots {
            if state.vectors.remove(slot) {
                state.used.clear(slot);
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// As `NamespaceIndex::maintain`.
    pub fn maintain(&self, max_rows: usize, threads: usize) -> Result<Work, Error> {
        self.maintenance.run(&self.state, |state| &mut state.vectors, max_rows, threads)
    }

    /// Slots with cosines, best first. `visible`: None for all.
    pub fn search(
        &self,
        query: &[u8],
        top_k: usize,
        visible: Option<&Bitmap>,
        options: &SearchOptions,
    ) -> Result<Vec<(u32, f32)>, Error> {
        options.check()?;
        let queries = decode_vectors(self.dimensions, query)?;
        let [query_vector] = &queries[..] else {
            return Err(Error::VectorSize { dimensions: self.dimensions, bytes: query.len() });
        };
        let prepared = PreparedQuery::new(query_vector);
        let state = self.read()?;
        let visible = visible.unwrap_or(&state.used);
        Ok(state.vectors.search(&prepared, top_k, visible, options, &|a, b| a.cmp(&b)))
    }

    /// Estimate of the heap it holds.
    pub fn memory_bytes(&self) -> Result<usize, Error> {
        let state = self.read()?;
        Ok(state.vectors.memory_bytes() + size_of_val(state.used.words()))
    }

    /// As `NamespaceIndex::save`.
    pub fn save(&self, path: &Path) -> Result<(), snapshot::Error> {
        let header = Header { model: String::new(), kind: KIND.to_owned(), watermark: 0 };
        let mut container = Container::new(&header, self.dimensions, SECTIONS)?;
        {
            let state = self.read()?;
            container.section(SLOTS, |out| encode_slots(&state.used, out));
            container.section(VECTORS, |out| state.vectors.encode(out));
        }
        replace(path, &container.finish())
    }

    /// As `NamespaceIndex::load`.
    pub fn load(path: &Path, dimensions: usize) -> Result<Self, snapshot::Error> {
        check_dimensions(dimensions)?;
        let expected = Expected { model: String::new(), dimensions, kind: KIND.to_owned() };
        let mapped = Mapped::open(path)?;
        let mut sections = Sections::open(mapped.bytes(), &expected)?;
        let used = decode_slots(sections.take(SLOTS)?)?;
        let vectors = Vectors::decode(sections.take(VECTORS)?, dimensions, &used)?;
        sections.finish()?;
        let state = RwLock::new(State { used, vectors });
        Ok(Self { dimensions, state, maintenance: Maintenance::default() })
    }
}

fn encode_slots(used: &Bitmap, out: &mut Writer) {
    out.count(used.words().len());
    out.i64s(used.words().iter().map(|word| word.cast_signed()));
}

fn decode_slots(mut reader: Reader) -> Result<Bitmap, snapshot::Error> {
    let count = reader.count(size_of::<u64>())?;
    if count > MAX_SLOTS as usize / WORD_BITS {
        return corrupt("there are too many slots");
    }
    let words = reader.i64s(count)?.map(i64::cast_unsigned).collect();
    reader.finish()?;
    Ok(Bitmap::from_words(words, count * WORD_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::FLAT_MAX_ROWS;

    fn vector(slot: u32) -> [f32; 3] {
        let angle = slot as f32;
        [angle.sin(), angle.cos(), (angle * 0.37).sin()]
    }

    fn bytes(vectors: impl Iterator<Item = [f32; 3]>) -> Vec<u8> {
        vectors.flatten().flat_map(f32::to_le_bytes).collect()
    }

    #[test]
    fn it_finds_what_was_added_before_and_after_a_save_in_both_forms() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vectors");
        for count in [1000, FLAT_MAX_ROWS as u32 + 1000] {
            let index = StandaloneVectors::new(3).unwrap();
            let slots: Vec<u32> = (0..count).collect();
            index.add(&slots, &bytes(slots.iter().map(|&slot| vector(slot)))).unwrap();
            while index.maintain(usize::MAX, 2).unwrap().left > 0 {}
            assert_eq!(index.remove(&[7, 7, count]).unwrap(), 1);
            index.save(&path).unwrap();
            let loaded = StandaloneVectors::load(&path, 3).unwrap();
            for options in [SearchOptions { ef: None, exact: true }, SearchOptions { ef: Some(64), exact: false }] {
                for index in [&index, &loaded] {
                    let found = index.search(&bytes([vector(500)].into_iter()), 3, None, &options).unwrap();
                    assert!(found.len() == 3 && found[0].1 > 0.999, "{found:?}");
                    let gone = index.search(&bytes([vector(7)].into_iter()), 50, None, &options).unwrap();
                    assert!(gone.len() == 50 && gone.iter().all(|hit| hit.0 != 7));
                    let mut only = Bitmap::zeros(600);
                    only.set(7);
                    only.set(501);
                    let found = index.search(&bytes([vector(3)].into_iter()), 3, Some(&only), &options).unwrap();
                    assert_eq!(found.iter().map(|hit| hit.0).collect::<Vec<_>>(), [501]);
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let index = StandaloneVectors::new(3).unwrap();
        assert!(index.add(&[0, 1], &bytes([vector(0)].into_iter())).is_err());
        assert!(index.add(&[MAX_SLOTS], &bytes([vector(0)].into_iter())).is_err());
        assert!(index.search(&[], 1, None, &SearchOptions::default()).is_err());
        assert!(
            index
                .search(&bytes([vector(0)].into_iter()), 1, None, &SearchOptions { ef: Some(0), exact: false })
                .is_err()
        );
        assert!(index.maintain(1, 0).is_err() && index.maintain(1, usize::MAX).is_err());
    }
}

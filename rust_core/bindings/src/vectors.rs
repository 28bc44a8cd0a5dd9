//! The vector index by itself, for benchmarks.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use memd_core::bitmap::Bitmap;
use memd_core::index::{SearchOptions, StandaloneVectors};

use crate::snapshot::map_snapshot_error;
use crate::{map_error, size};

/// `load` puts another index in its place.
#[pyclass(frozen, module = "memd._core")]
pub struct VectorIndex(RwLock<StandaloneVectors>);

impl VectorIndex {
    fn index(&self) -> RwLockReadGuard<'_, StandaloneVectors> {
        // A holder that died leaves nothing half done: it is only ever replaced whole.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, threads: usize) -> Result<(), memd_core::error::Error> {
        while self.index().maintain(usize::MAX, threads)?.left > 0 {}
        Ok(())
    }
}

#[pymethods]
impl VectorIndex {
    #[new]
    fn new(dimensions: i64) -> PyResult<Self> {
        let index = StandaloneVectors::new(size("dimensions", dimensions)?).map_err(map_error)?;
        Ok(Self(RwLock::new(index)))
    }

    fn add(&self, py: Python<'_>, slots: &[u8], vectors: &[u8]) -> PyResult<()> {
        let slots = slots_of(slots)?;
        py.detach(|| self.index().add(&slots, vectors)).map_err(map_error)
    }

    fn build(&self, py: Python<'_>, threads: i64) -> PyResult<()> {
        let threads = size("threads", threads)?;
        py.detach(|| self.settle(threads)).map_err(map_error)
    }

    fn search(
        &self,
        py: Python<'_>,
        query: &[u8],
        k: i64,
        ef: i64,
        visible: Option<&[u8]>,
        exact: bool,
    ) -> PyResult<Vec<(u32, f32)>> {
        let (k, options) = (size("k", k)?, search_options(ef, exact)?);
        let search = || {
            let visible = visible.map(bitmap);
            self.index().search(query, k, visible.as_ref(), &options)
        };
        py.detach(search).map_err(map_error)
    }

    fn search_times_ns(&self, py: Python<'_>, queries: &[u8], k: i64, ef: i64) -> PyResult<Vec<u64>> {
        let (k, options) = (size("k", k)?, search_options(ef, ef == 0)?);
        let timed = || {
            let index = self.index();
            let queries = queries.chunks(index.dimensions() * size_of::<f32>());
            let time = |query| {
                let start = Instant::now();
                let found = index.search(query, k, None, &options);
                let taken = start.elapsed();
                found.map(|_| taken.as_nanos() as u64)
            };
            queries.map(time).collect::<Result<Vec<u64>, _>>()
        };
        py.detach(timed).map_err(map_error)
    }

    fn remove(&self, py: Python<'_>, slots: &[u8]) -> PyResult<usize> {
        let slots = slots_of(slots)?;
        py.detach(|| self.index().remove(&slots)).map_err(map_error)
    }

    #[pyo3(signature = (threads = 1))]
    fn maintain(&self, py: Python<'_>, threads: i64) -> PyResult<()> {
        self.build(py, threads)
    }

    #[getter]
    fn memory_bytes(&self, py: Python<'_>) -> PyResult<usize> {
        py.detach(|| self.index().memory_bytes()).map_err(map_error)
    }

    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| self.index().save(&path)).map_err(|error| map_snapshot_error(error, path))
    }

    fn load(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let load = || -> Result<(), memd_core::snapshot::Error> {
            let dimensions = self.index().dimensions();
            let loaded = StandaloneVectors::load(&path, dimensions)?;
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = loaded;
            Ok(())
        };
        py.detach(load).map_err(|error| map_snapshot_error(error, path))
    }
}

/// `ef` 0 leaves it to the index.
fn search_options(ef: i64, exact: bool) -> PyResult<SearchOptions> {
    let ef = size("ef", ef)?;
    Ok(SearchOptions { ef: (ef > 0).then_some(ef), exact })
}

fn slots_of(bytes: &[u8]) -> PyResult<Vec<u32>> {
    match bytes.as_chunks() {
        (slots, []) => Ok(slots.iter().map(|slot| u32::from_le_bytes(*slot)).collect()),
        _ => Err(PyValueError::new_err("slots must be 4 bytes each")),
    }
}

/// Slot n is bit n % 8 of byte n / 8.
fn bitmap(bytes: &[u8]) -> Bitmap {
    let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
    Bitmap::from_words(bytes.chunks(size_of::<u64>()).map(word).collect(), bytes.len() * 8)
}

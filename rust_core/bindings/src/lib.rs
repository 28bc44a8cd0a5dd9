//! `memd._core`: extract, release the GIL, call the core, map the error. Nothing else. Typed in `memd/_core.pyi`.

mod extraction;
mod index;
mod pack;
mod ranking;
mod snapshot;
mod tokens;
mod vectors;
mod words;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use memd_core::error::Error;

/// A broken index is the daemon's fault, everything else the caller's.
fn map_error(error: Error) -> PyErr {
    match error {
        Error::Broken => PyRuntimeError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}

/// A size from a Python int; a negative one is a ValueError, not pyo3's OverflowError.
fn size(what: &'static str, value: i64) -> PyResult<usize> {
    usize::try_from(value).map_err(|_| map_error(Error::OutOfRange { what, bounds: "0 or more" }))
}

#[pyfunction]
fn simd_level() -> &'static str {
    memd_core::index::kernels::Level::detect().name()
}

#[pyfunction]
fn give_back_memory(py: Python<'_>) {
    py.detach(memd_core::heap::give_back);
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(simd_level, module)?)?;
    module.add_function(wrap_pyfunction!(give_back_memory, module)?)?;
    module.add_function(wrap_pyfunction!(pack::pack_context, module)?)?;
    module.add_function(wrap_pyfunction!(extraction::extract_sentences, module)?)?;
    module.add("SnapshotStale", module.py().get_type::<snapshot::SnapshotStale>())?;
    module.add("SnapshotCorrupt", module.py().get_type::<snapshot::SnapshotCorrupt>())?;
    module.add_function(wrap_pyfunction!(ranking::default_cues, module)?)?;
    module.add_function(wrap_pyfunction!(words::analyze_batch, module)?)?;
    module.add_function(wrap_pyfunction!(ranking::default_nothing, module)?)?;
    module.add_class::<tokens::TokenCounter>()?;
    module.add_class::<pack::Section>()?;
    module.add_class::<pack::Packed>()?;
    module.add_class::<index::IndexEntry>()?;
    module.add_class::<index::PreparedSearch>()?;
    module.add_class::<index::NamespaceIndex>()?;
    module.add_class::<vectors::VectorIndex>()?;
    module.add_class::<ranking::RankingOptions>()?;
    module.add_class::<ranking::Hit>()?;
    module.add_class::<ranking::SearchResult>()
}

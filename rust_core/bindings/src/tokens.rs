//! Token counts.

use pyo3::pybacked::PyBackedStr;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::map_error;

/// Shorter texts are counted without letting go of the GIL: it takes tens of microseconds, and another thread may keep the
/// GIL for milliseconds.
const DETACH_MIN_BYTES: usize = 4096;

#[pyclass(frozen, module = "memd._core")]
pub struct TokenCounter(pub memd_core::tokens::TokenCounter);

#[pymethods]
impl TokenCounter {
    #[new]
    #[pyo3(signature = (encoding = "o200k_base"))]
    fn new(encoding: &str) -> PyResult<Self> {
        memd_core::tokens::TokenCounter::new(encoding).map(Self).map_err(map_error)
    }

    #[getter]
    fn encoding(&self) -> &'static str {
        self.0.encoding()
    }

    fn count(&self, py: Python<'_>, text: &str) -> usize {
        if text.len() < DETACH_MIN_BYTES {
            return self.0.count(text);
        }
        py.detach(|| self.0.count(text))
    }

    fn count_batch(&self, py: Python<'_>, texts: Vec<PyBackedStr>) -> Vec<usize> {
        py.detach(|| texts.iter().map(|text| self.0.count(text)).collect())
    }

    fn vocabulary<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let ranks = PyDict::new(py);
        for (token, rank) in self.0.vocabulary() {
            ranks.set_item(PyBytes::new(py, token), rank)?;
        }
        Ok(ranks)
    }
}

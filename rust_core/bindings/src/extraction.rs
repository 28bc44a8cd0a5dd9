//! Extractive summaries.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use memd_core::extraction::{Sentence, extract};

use crate::tokens::TokenCounter;
use crate::{map_error, size};

#[pyfunction]
pub fn extract_sentences(
    py: Python<'_>,
    counter: &Bound<'_, TokenCounter>,
    sentences: Vec<(PyBackedStr, usize, f64)>,
    labels: Vec<PyBackedStr>,
    max_tokens: i64,
) -> PyResult<String> {
    let max_tokens = size("max_tokens", max_tokens)?;
    let counter = &counter.get().0;
    py.detach(|| {
        let sentences: Vec<Sentence<'_>> =
            sentences.iter().map(|(text, label, value)| Sentence { text, label: *label, value: *value }).collect();
        let labels: Vec<&str> = labels.iter().map(|label| &**label).collect();
        extract(counter, &sentences, &labels, max_tokens)
    })
    .map_err(map_error)
}

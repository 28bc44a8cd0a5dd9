//! Terms of texts, and the figures of a collection.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use memd_core::text::{Collection, analyze};

#[pyfunction]
pub fn analyze_batch(py: Python<'_>, texts: Vec<PyBackedStr>) -> Vec<Vec<(String, u32)>> {
    py.detach(|| texts.iter().map(|text| analyze(text).terms).collect())
}

pub fn collection(documents: u64, total_length: u64, frequencies: HashMap<String, u64>) -> Collection {
    Collection { documents, total_length, frequencies: frequencies.into_iter().collect() }
}

//! Packing a context block.

use pyo3::prelude::*;

use crate::tokens::TokenCounter;
use crate::{map_error, size};

#[pyclass(frozen, module = "memd._core")]
pub struct Section(memd_core::pack::Section);

#[pymethods]
impl Section {
    #[new]
    #[pyo3(signature = (heading, items, share, reverse = false, divisible = None))]
    fn new(
        heading: String,
        items: Vec<String>,
        share: f64,
        reverse: bool,
        divisible: Option<Vec<usize>>,
    ) -> PyResult<Self> {
        memd_core::pack::Section::new(heading, items, share, reverse)
            .and_then(|section| section.dividing(divisible.unwrap_or_default()))
            .map(Self)
            .map_err(map_error)
    }

    fn count(&self, counter: &Bound<'_, TokenCounter>) {
        self.0.count(&counter.get().0);
    }
}

#[pyclass(frozen, get_all, module = "memd._core")]
pub struct Packed {
    text: String,
    tokens: usize,
    taken: Vec<Vec<usize>>,
}

#[pyfunction]
pub fn pack_context(
    py: Python<'_>,
    counter: &Bound<'_, TokenCounter>,
    sections: Vec<Bound<'_, Section>>,
    budget_tokens: i64,
) -> PyResult<Packed> {
    let budget = size("budget_tokens", budget_tokens)?;
    let counter = &counter.get().0;
    let sections: Vec<_> = sections.iter().map(|section| &section.get().0).collect();
    let packed = py.detach(|| memd_core::pack::pack(counter, &sections, budget));
    Ok(Packed { text: packed.text, tokens: packed.tokens, taken: packed.taken })
}

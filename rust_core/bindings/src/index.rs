//! The index of a namespace.

use std::collections::HashMap;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use memd_core::namespace_index as core;
use memd_core::snapshot::{Expected, Header};

use crate::map_error;
use crate::ranking::{Hit, RankingOptions, SearchResult};
use crate::size;
use crate::snapshot::map_snapshot_error;
use crate::words::collection;

#[pyclass(frozen, module = "memd._core")]
pub struct IndexEntry(core::Entry);

#[pymethods]
impl IndexEntry {
    #[new]
    fn new(memory_id: String, version: i64, text: String, embeddings: &[u8], fields: &[u8]) -> Self {
        Self(core::Entry { memory_id, version, text, embeddings: embeddings.to_vec(), fields: fields.to_vec() })
    }
}

#[pyclass(frozen, module = "memd._core")]
pub struct PreparedSearch(core::PreparedSearch);

#[pyclass(frozen, module = "memd._core")]
pub struct NamespaceIndex(core::NamespaceIndex);

#[pymethods]
impl NamespaceIndex {
    #[new]
    fn new(dimensions: i64) -> PyResult<Self> {
        core::NamespaceIndex::new(size("dimensions", dimensions)?).map(Self).map_err(map_error)
    }

    fn upsert(&self, py: Python<'_>, entries: Vec<Bound<'_, IndexEntry>>, applied_seq: i64) -> PyResult<()> {
        let entries: Vec<&core::Entry> = entries.iter().map(|entry| &entry.get().0).collect();
        py.detach(|| self.0.upsert(&entries, applied_seq)).map_err(map_error)
    }

    fn remove(&self, py: Python<'_>, memory_ids: Vec<PyBackedStr>, applied_seq: i64) -> PyResult<usize> {
        let ids: Vec<&str> = memory_ids.iter().map(AsRef::as_ref).collect();
        py.detach(|| self.0.remove(&ids, applied_seq)).map_err(map_error)
    }

    #[pyo3(signature = (query, embedding, filter, options, versions = None))]
    fn search(
        &self,
        py: Python<'_>,
        query: &str,
        embedding: Option<&[u8]>,
        filter: Option<&[u8]>,
        options: &Bound<'_, RankingOptions>,
        versions: Option<&[u8]>,
    ) -> PyResult<SearchResult> {
        let RankingOptions { ranking, thoroughly } = options.get();
        let sight = core::Sight { filter, versions };
        let search = || self.0.search_with(query, embedding, sight, ranking, thoroughly);
        shown(py, py.detach(search).map_err(map_error)?)
    }

    #[pyo3(signature = (query, filter, options, versions = None))]
    fn prepare(
        &self,
        py: Python<'_>,
        query: &str,
        filter: Option<&[u8]>,
        options: &Bound<'_, RankingOptions>,
        versions: Option<&[u8]>,
    ) -> PyResult<PreparedSearch> {
        let RankingOptions { ranking, thoroughly } = options.get();
        let sight = core::Sight { filter, versions };
        py.detach(|| self.0.prepare(query, sight, ranking, thoroughly)).map(PreparedSearch).map_err(map_error)
    }

    fn finish(
        &self,
        py: Python<'_>,
        prepared: &Bound<'_, PreparedSearch>,
        embedding: Option<&[u8]>,
    ) -> PyResult<SearchResult> {
        let prepared = &prepared.get().0;
        shown(py, py.detach(|| self.0.finish(prepared, embedding)).map_err(map_error)?)
    }

    fn matching(&self, py: Python<'_>, filter: Option<&[u8]>) -> PyResult<Vec<String>> {
        py.detach(|| self.0.matching(filter)).map_err(map_error)
    }

    fn versions(&self, py: Python<'_>) -> PyResult<HashMap<String, i64>> {
        py.detach(|| self.0.versions()).map(|pairs| pairs.into_iter().collect()).map_err(map_error)
    }

    fn set_collection(
        &self,
        py: Python<'_>,
        documents: u64,
        total_length: u64,
        frequencies: HashMap<String, u64>,
    ) -> PyResult<()> {
        let collection = collection(documents, total_length, frequencies);
        py.detach(|| self.0.set_collection(collection)).map_err(map_error)
    }

    fn maintain(&self, py: Python<'_>, max_rows: i64, threads: i64) -> PyResult<usize> {
        let (max_rows, threads) = (size("max_rows", max_rows)?, size("threads", threads)?);
        py.detach(|| self.0.maintain(max_rows, threads)).map(|work| work.left).map_err(map_error)
    }

    fn save(&self, py: Python<'_>, path: PathBuf, model: String, kind: String, watermark: i64) -> PyResult<()> {
        let header = Header { model, kind, watermark };
        py.detach(|| self.0.save(&path, &header)).map_err(|error| map_snapshot_error(error, path))
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf, model: String, dimensions: i64, kind: String) -> PyResult<(Self, i64)> {
        let expected = Expected { model, dimensions: size("dimensions", dimensions)?, kind };
        let loaded = py.detach(|| core::NamespaceIndex::load(&path, &expected));
        loaded.map(|(index, watermark)| (Self(index), watermark)).map_err(|error| map_snapshot_error(error, path))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __contains__(&self, py: Python<'_>, memory_id: &str) -> PyResult<bool> {
        py.detach(|| self.0.contains(memory_id)).map_err(map_error)
    }

    #[getter]
    fn applied_seq(&self) -> i64 {
        self.0.applied_seq()
    }

    #[getter]
    fn dimensions(&self) -> usize {
        self.0.dimensions()
    }

    /// By part.
    #[getter]
    fn memory_parts(&self, py: Python<'_>) -> PyResult<HashMap<&'static str, usize>> {
        let parts = py.detach(|| self.0.memory_parts()).map_err(map_error)?;
        Ok(HashMap::from([
            ("vectors", parts.vectors),
            ("ids", parts.ids),
            ("words", parts.words),
            ("fields", parts.fields),
        ]))
    }

    #[getter]
    fn memory_bytes(&self, py: Python<'_>) -> PyResult<usize> {
        py.detach(|| self.0.memory_bytes()).map_err(map_error)
    }
}

fn shown(py: Python<'_>, found: core::SearchResult) -> PyResult<SearchResult> {
    let hits = found.hits.into_iter().map(|hit| Py::new(py, Hit::from(hit))).collect::<PyResult<_>>()?;
    Ok(SearchResult { hits, nothing_relevant: found.nothing_relevant, visible: found.visible })
}

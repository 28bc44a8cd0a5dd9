//! The vectors of a namespace: while there are few, float rows that are scanned; beyond that, codes and a graph.

use std::cmp::Ordering;

use super::{FlatIndex, HnswIndex, Prepared, PreparedQuery, SearchOptions, VectorIndex};
use crate::bitmap::Bitmap;
use crate::snapshot::{Error, Reader, Writer, corrupt};

/// Rows up to which all are kept in float32 and scanned. A scan of that many takes about as long as a walk and its answer is
/// that of a float scan; beyond it the float rows are dropped, which are three quarters of the memory.
pub const FLAT_MAX_ROWS: usize = 16_384;

/// A flat index that becomes a graph index when it has grown. It does not turn back: its float rows are gone.
pub struct Vectors {
    form: Form,
    flat_max_rows: usize,
}

/// Forms in a snapshot.
const FLAT: u8 = 0;
const GRAPH: u8 = 1;

enum Form {
    Flat(FlatIndex),
    Graph(Box<HnswIndex>),
}

impl Vectors {
    /// For vectors of `dimensions` components (1 to `MAX_DIMENSIONS`).
    pub fn new(dimensions: usize) -> Self {
        Self::with_flat_max_rows(dimensions, FLAT_MAX_ROWS)
    }

    /// The same with a graph from more than so many rows on.
    pub fn with_flat_max_rows(dimensions: usize, flat_max_rows: usize) -> Self {
        Self { form: Form::Flat(FlatIndex::new(dimensions)), flat_max_rows }
    }

    /// The graph index, when it is one.
    pub fn graph(&self) -> Option<&HnswIndex> {
        match &self.form {
            Form::Flat(_) => None,
            Form::Graph(graph) => Some(graph),
        }
    }

    /// The graph index, when it is one.
    pub fn graph_mut(&mut self) -> Option<&mut HnswIndex> {
        match &mut self.form {
            Form::Flat(_) => None,
            Form::Graph(graph) => Some(graph),
        }
    }

    /// From now on a graph from more than so many rows on. One that is a graph stays one.
    pub fn set_flat_max_rows(&mut self, flat_max_rows: usize) {
        self.flat_max_rows = flat_max_rows;
    }

    /// Make room for a batch of so many rows of so many slots, where a little matters: in a small index.
    pub fn reserve(&mut self, slots: usize, rows: usize) {
        if let Form::Flat(flat) = &mut self.form {
            flat.reserve(slots, rows);
        }
    }

    /// Keep no room for more, where that matters: in a small index.
    pub fn shrink_to_fit(&mut self) {
        if let Form::Flat(flat) = &mut self.form {
            flat.shrink_to_fit();
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        match &self.form {
            Form::Flat(flat) => {
                out.u8(FLAT);
                flat.encode(out);
            }
            Form::Graph(graph) => {
                out.u8(GRAPH);
                graph.encode(out);
            }
        }
    }

    /// `live`: the slots there are; a row belongs to one of them.
    pub(crate) fn decode(mut reader: Reader, dimensions: usize, live: &Bitmap) -> Result<Self, Error> {
        let form = match reader.u8()? {
            FLAT => Form::Flat(FlatIndex::decode(reader, dimensions, live)?),
            GRAPH => Form::Graph(Box::new(HnswIndex::decode(reader, dimensions, live)?)),
            _ => return corrupt("vectors have no such form"),
        };
        Ok(Self { form, flat_max_rows: FLAT_MAX_ROWS })
    }

    fn index(&self) -> &dyn VectorIndex {
        match &self.form {
            Form::Flat(flat) => flat,
            Form::Graph(graph) => graph.as_ref(),
        }
    }

    fn index_mut(&mut self) -> &mut dyn VectorIndex {
        match &mut self.form {
            Form::Flat(flat) => flat,
            Form::Graph(graph) => graph.as_mut(),
        }
    }
}

/// All rows wait for being linked.
fn to_graph(flat: &FlatIndex) -> HnswIndex {
    let mut graph = HnswIndex::with_level(flat.dimensions(), flat.level);
    for (slot, rows) in flat.rows_of.iter().enumerate() {
        let coded = rows.as_slice().iter().map(|&row| flat.rows.coded(row as usize));
        graph.insert_coded(slot as u32, coded);
    }
    graph
}

impl VectorIndex for Vectors {
    fn dimensions(&self) -> usize {
        self.index().dimensions()
    }

    fn insert(&mut self, slot: u32, windows: &[Prepared]) {
        if let Form::Flat(flat) = &mut self.form {
            // What the slot has does not count twice.
            flat.remove(slot);
            if flat.rows.len() + windows.len() > self.flat_max_rows {
                flat.rows.make_codes();
                self.form = Form::Graph(Box::new(to_graph(flat)));
            }
        }
        self.index_mut().insert(slot, windows);
    }

    fn remove(&mut self, slot: u32) -> bool {
        self.index_mut().remove(slot)
    }

    fn cosine(&self, slot: u32, query: &PreparedQuery) -> Option<f32> {
        self.index().cosine(slot, query)
    }

    fn search(
        &self,
        query: &PreparedQuery,
        top_k: usize,
        visible: &Bitmap,
        options: &SearchOptions,
        tie: &dyn Fn(u32, u32) -> Ordering,
    ) -> Vec<(u32, f32)> {
        self.index().search(query, top_k, visible, options, tie)
    }

    fn warm(&self, slots: &mut dyn Iterator<Item = u32>) {
        self.index().warm(slots);
    }

    fn memory_bytes(&self) -> usize {
        self.index().memory_bytes()
    }
}

//! A whole index to a file and back.

use std::path::Path;
use std::sync::RwLock;

use super::ids::Ids;
use super::{NamespaceIndex, State};
use crate::conversation::Conversations;
use crate::fields::Columns;
use crate::index::{Vectors, check_dimensions};
use crate::snapshot::{Container, Error, Expected, Header, Mapped, Sections, Tag, replace};
use crate::text::{LexicalIndex, TextTraits};

const IDS: Tag = *b"IDS ";
const WORDS: Tag = *b"WORD";
const FIELDS: Tag = *b"FLDS";
const VECTORS: Tag = *b"VECT";
const TRAITS: Tag = *b"TRTS";
const SECTIONS: usize = 5;

impl NamespaceIndex {
    /// Replace the file of this path by a snapshot, on disk when this returns. `header.watermark` must be a change that the
    /// index has applied. Costs a copy of the index in memory while it runs; changes wait (and with them searches that come
    /// after a waiting change) while that copy is made, not while it is written.
    pub fn save(&self, path: &Path, header: &Header) -> Result<(), Error> {
        replace(path, &self.to_snapshot(header)?)
    }

    /// An index from a file, with the watermark it was saved with: later changes must be applied again.
    pub fn load(path: &Path, expected: &Expected) -> Result<(Self, i64), Error> {
        check_dimensions(expected.dimensions)?;
        Self::from_snapshot(Mapped::open(path)?.bytes(), expected)
    }

    /// The bytes of a snapshot.
    pub fn to_snapshot(&self, header: &Header) -> Result<Vec<u8>, Error> {
        let mut container = Container::new(header, self.dimensions, SECTIONS)?;
        {
            let state = self.read()?;
            let live = state.ids.live();
            container.section(IDS, |out| state.ids.encode(out));
            container.section(WORDS, |out| state.words.encode(out, live));
            container.section(FIELDS, |out| state.fields.encode(out, live));
            container.section(TRAITS, |out| TextTraits::encode(&state.traits, out, live));
            container.section(VECTORS, |out| state.vectors.encode(out));
        }
        Ok(container.finish())
    }

    /// As `load`, from bytes.
    pub fn from_snapshot(bytes: &[u8], expected: &Expected) -> Result<(Self, i64), Error> {
        check_dimensions(expected.dimensions)?;
        let mut sections = Sections::open(bytes, expected)?;
        let watermark = sections.watermark;
        let ids = Ids::decode(sections.take(IDS)?)?;
        let words = LexicalIndex::decode(sections.take(WORDS)?, ids.live())?;
        let fields = Columns::decode(sections.take(FIELDS)?, ids.live())?;
        let traits = TextTraits::decode(sections.take(TRAITS)?, ids.live())?;
        let vectors = Vectors::decode(sections.take(VECTORS)?, expected.dimensions, ids.live())?;
        sections.finish()?;
        let (len, applied_seq, changes) = (ids.len().into(), watermark.into(), 0.into());
        let mut state = State { ids, vectors, words, fields, conversations: Conversations::default(), traits };
        state.resume_conversations();
        let state = RwLock::new(state);
        let maintenance = Default::default();
        Ok((Self { dimensions: expected.dimensions, state, maintenance, len, applied_seq, changes }, watermark))
    }
}

impl State {
    /// Who stands beside whom, from the fields, in the order the memories came.
    fn resume_conversations(&mut self) {
        for slot in self.ids.in_insertion_order(self.ids.live()) {
            self.join_session(slot);
        }
    }
}

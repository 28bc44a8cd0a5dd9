//! The file: a header that says what is in it, then the sections one after another.
//!
//! | bytes | |
//! |---|---|
//! | 8 | magic |
//! | 4 | format version |
//! | 4 | length of the header: where the first section begins |
//! | 8 | checksum of the header without these 8 bytes |
//! | 4, 8 | dimensions, watermark |
//! | 4 + n, 4 + n | model, kind: length and UTF-8 |
//! | 4 | number of sections |
//! | each 4, 8, 8 | tag, length, checksum |
//!
//! The first three and the header's checksum stay where they are in every version, so that a file of another version is
//! told from a damaged one. Checksums are XXH3 with 64 bits: faster than the memory they are read from.

use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::error::{Error, corrupt};
use super::reader::Reader;
use super::writer::Writer;
use super::{Expected, FORMAT_VERSION, Header, MAX_NAME_BYTES};
use crate::error;

/// Names a section.
pub(crate) type Tag = [u8; 4];

const MAGIC: [u8; 8] = *b"MEMDSNAP";
const BEFORE_CHECKSUM: usize = 16;
/// The part that is the same in every version.
const PREFIX_BYTES: usize = BEFORE_CHECKSUM + 8;
const TABLE_ENTRY_BYTES: usize = 20;
/// Far more than there are; keeps a header small enough to be checked first and whole.
const MAX_SECTIONS: usize = 16;
const MAX_HEADER_BYTES: usize = PREFIX_BYTES + 12 + 2 * (4 + MAX_NAME_BYTES) + 4 + MAX_SECTIONS * TABLE_ENTRY_BYTES;

/// A file in the making: room for the header, then sections. Checksums wait for `finish`, which needs no lock.
pub(crate) struct Container {
    out: Writer,
    header: Vec<u8>,
    /// Tags with where their sections end.
    sections: Vec<(Tag, usize)>,
}

impl Container {
    /// For a number of sections (at most `MAX_SECTIONS`) known beforehand.
    pub fn new(header: &Header, dimensions: usize, sections: usize) -> Result<Self, Error> {
        let mut first = Writer::default();
        first.u32(dimensions as u32);
        first.i64(header.watermark);
        for name in [&header.model, &header.kind] {
            check_name(name)?;
            first.u32(name.len() as u32);
            first.bytes(name.as_bytes());
        }
        debug_assert!(sections <= MAX_SECTIONS);
        first.u32(sections as u32);
        let header = first.into_bytes();
        let mut out = Writer::default();
        out.bytes(&vec![0; PREFIX_BYTES + header.len() + sections * TABLE_ENTRY_BYTES]);
        Ok(Self { out, header, sections: Vec::with_capacity(sections) })
    }

    /// Append a section.
    pub fn section(&mut self, tag: Tag, encode: impl FnOnce(&mut Writer)) {
        encode(&mut self.out);
        self.sections.push((tag, self.out.len()));
    }

    /// Compute the checksums and fill in the header.
    pub fn finish(self) -> Vec<u8> {
        let begin = PREFIX_BYTES + self.header.len() + self.sections.len() * TABLE_ENTRY_BYTES;
        let mut bytes = self.out.into_bytes();
        let mut rest = Writer::default();
        rest.bytes(&self.header);
        let mut start = begin;
        for (tag, end) in self.sections {
            rest.bytes(&tag);
            rest.count(end - start);
            rest.bytes(&xxh3_64(&bytes[start..end]).to_le_bytes());
            start = end;
        }
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..BEFORE_CHECKSUM].copy_from_slice(&(begin as u32).to_le_bytes());
        bytes[PREFIX_BYTES..begin].copy_from_slice(&rest.into_bytes());
        let checksum = header_checksum(&bytes[..begin]);
        bytes[BEFORE_CHECKSUM..PREFIX_BYTES].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

fn check_name(name: &str) -> Result<(), error::Error> {
    if name.len() <= MAX_NAME_BYTES {
        Ok(())
    } else {
        Err(error::Error::OutOfRange { what: "the length of model and kind", bounds: "at most 1024 bytes" })
    }
}

fn header_checksum(header: &[u8]) -> u64 {
    let mut hasher = Xxh3Default::new();
    hasher.update(&header[..BEFORE_CHECKSUM]);
    hasher.update(&header[PREFIX_BYTES..]);
    hasher.digest()
}

/// A section as the header lists it.
struct Section<'a> {
    tag: Tag,
    checksum: u64,
    bytes: &'a [u8],
}

/// The sections of a file whose header is right, to be taken in order.
pub(crate) struct Sections<'a> {
    /// Everything up to it is in the index.
    pub watermark: i64,
    /// The next one last.
    left: Vec<Section<'a>>,
}

impl<'a> Sections<'a> {
    /// Check the header. Sections are looked at when they are taken.
    pub fn open(bytes: &'a [u8], expected: &Expected) -> Result<Self, Error> {
        let header = header(bytes)?;
        if header[8..12] != FORMAT_VERSION.to_le_bytes() {
            return Err(Error::Stale("format version"));
        }
        let mut reader = Reader::new(&header[PREFIX_BYTES..]);
        let dimensions = reader.u32()?;
        let watermark = reader.i64()?;
        let model = name(&mut reader)?;
        let kind = name(&mut reader)?;
        if model != expected.model.as_bytes() {
            return Err(Error::Stale("model"));
        }
        if kind != expected.kind.as_bytes() {
            return Err(Error::Stale("kind"));
        }
        if dimensions as usize != expected.dimensions {
            return Err(Error::Stale("size of vectors"));
        }
        let left = table(&mut reader, &bytes[header.len()..])?;
        reader.finish()?;
        Ok(Self { watermark, left })
    }

    /// The next section, which must be the one named and be what was written.
    pub fn take(&mut self, wanted: Tag) -> Result<Reader<'a>, Error> {
        match self.left.pop() {
            Some(Section { tag, checksum, bytes }) if tag == wanted => {
                if xxh3_64(bytes) == checksum {
                    Ok(Reader::new(bytes))
                } else {
                    corrupt("a checksum is wrong")
                }
            }
            _ => corrupt("a section is missing or not in its place"),
        }
    }

    /// Whether all were taken.
    pub fn finish(self) -> Result<(), Error> {
        if self.left.is_empty() { Ok(()) } else { corrupt("there are more sections than known") }
    }
}

/// The bytes of the header, its checksum right.
fn header(bytes: &[u8]) -> Result<&[u8], Error> {
    let mut prefix = Reader::new(bytes);
    if prefix.bytes(MAGIC.len())? != MAGIC {
        return corrupt("the magic number is wrong");
    }
    let _version = prefix.u32()?;
    let len = prefix.u32()? as usize;
    let checksum = prefix.u64()?;
    if !(PREFIX_BYTES..=MAX_HEADER_BYTES).contains(&len) || len > bytes.len() {
        return corrupt("the length of the header is wrong");
    }
    let header = &bytes[..len];
    if header_checksum(header) == checksum { Ok(header) } else { corrupt("the checksum of the header is wrong") }
}

fn name<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    let len = reader.u32()?;
    reader.bytes(len as usize)
}

/// Sections, the last one first. Their lengths must add up to the file's, to the byte.
fn table<'a>(reader: &mut Reader<'_>, bytes: &'a [u8]) -> Result<Vec<Section<'a>>, Error> {
    let count = reader.u32()? as usize;
    if count > MAX_SECTIONS {
        return corrupt("there are more sections than known");
    }
    let mut rest = Reader::new(bytes);
    let mut sections = Vec::with_capacity(count);
    for _ in 0..count {
        let tag = reader.u32()?.to_le_bytes();
        let len = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
        sections.push(Section { tag, checksum: reader.u64()?, bytes: rest.bytes(len)? });
    }
    rest.finish()?;
    sections.reverse();
    Ok(sections)
}

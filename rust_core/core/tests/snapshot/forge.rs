//! Mutants of snapshots. The layout is written out here once more, from its description: the harness must not trust the code
//! it tests to find the fields.

use xxhash_rust::xxh3::xxh3_64;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, seeded, good enough to pick places.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Below `end`; 0 when that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// A file taken apart.
#[derive(Clone)]
pub struct Parts {
    version: u32,
    dimensions: u32,
    watermark: i64,
    model: Vec<u8>,
    kind: Vec<u8>,
    sections: Vec<Section>,
    header_checksum: u64,
}

#[derive(Clone)]
struct Section {
    tag: [u8; 4],
    /// What the table says; None for the true length.
    length: Option<u64>,
    checksum: u64,
    bytes: Vec<u8>,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

impl Parts {
    /// Of a sound snapshot.
    pub fn of(bytes: &[u8]) -> Self {
        let named = |at: usize| bytes[at + 4..at + 4 + u32_at(bytes, at) as usize].to_vec();
        let model = named(36);
        let kind = named(40 + model.len());
        let table = 44 + model.len() + kind.len();
        let mut start = u32_at(bytes, 12) as usize;
        let mut sections = Vec::new();
        for entry in (0..u32_at(bytes, table) as usize).map(|number| table + 4 + number * 20) {
            let end = start + u64_at(bytes, entry + 4) as usize;
            let tag = bytes[entry..entry + 4].try_into().unwrap();
            let checksum = u64_at(bytes, entry + 12);
            sections.push(Section { tag, length: None, checksum, bytes: bytes[start..end].to_vec() });
            start = end;
        }
        assert_eq!(start, bytes.len());
        Self {
            version: u32_at(bytes, 8),
            dimensions: u32_at(bytes, 24),
            watermark: u64_at(bytes, 28) as i64,
            model,
            kind,
            sections,
            header_checksum: u64_at(bytes, 16),
        }
    }

    /// A file again; `repaired`: with the checksums of what is in it now, else with those it had.
    pub fn file(&self, repaired: bool) -> Vec<u8> {
        let mut rest = Vec::new();
        rest.extend(self.dimensions.to_le_bytes());
        rest.extend(self.watermark.to_le_bytes());
        for name in [&self.model, &self.kind] {
            rest.extend((name.len() as u32).to_le_bytes());
            rest.extend(name);
        }
        rest.extend((self.sections.len() as u32).to_le_bytes());
        for section in &self.sections {
            rest.extend(section.tag);
            rest.extend(section.length.unwrap_or(section.bytes.len() as u64).to_le_bytes());
            rest.extend(if repaired { xxh3_64(&section.bytes) } else { section.checksum }.to_le_bytes());
        }
        let mut file = b"MEMDSNAP".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend((24 + rest.len() as u32).to_le_bytes());
        let checksum = if repaired { xxh3_64(&[&file[..], &rest].concat()) } else { self.header_checksum };
        file.extend(checksum.to_le_bytes());
        file.extend(rest);
        self.sections.iter().for_each(|section| file.extend(&section.bytes));
        file
    }
}

/// What is done to a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// The file ends early, or goes on.
    Truncated,
    /// Some bits, anywhere in the file or in one section.
    Bits,
    /// A run of bytes is overwritten.
    Overwritten,
    /// A number becomes one that a length or index would be wrong with.
    ForgedNumber,
    /// A number becomes another one of the same section.
    CopiedNumber,
    /// The length of a section in the table.
    ForgedLength,
    /// Two sections change places, or only their contents do.
    SwappedSections,
    /// A section takes the place of another, or stands twice.
    DuplicatedSection,
    /// A section is empty or gone.
    EmptiedSection,
    /// A section of another snapshot.
    Spliced,
    /// The model, kind or size of vectors.
    OtherModel,
    /// The format's version.
    OtherVersion,
}

pub const MUTATIONS: [Mutation; 12] = [
    Mutation::Truncated,
    Mutation::Bits,
    Mutation::Overwritten,
    Mutation::ForgedNumber,
    Mutation::CopiedNumber,
    Mutation::ForgedLength,
    Mutation::SwappedSections,
    Mutation::DuplicatedSection,
    Mutation::EmptiedSection,
    Mutation::Spliced,
    Mutation::OtherModel,
    Mutation::OtherVersion,
];

/// The mutant, and whether its checksums are right (`repair` asks for it; where the file itself is cut they are not).
pub fn mutate(
    mutation: Mutation,
    original: &Parts,
    other: &Parts,
    random: &mut Random,
    repair: bool,
) -> (Vec<u8>, bool) {
    let mut parts = original.clone();
    let count = parts.sections.len();
    let (a, b) = (random.below(count), random.below(count));
    match mutation {
        Mutation::Truncated if !repair => return (truncated(original.file(true), random), false),
        Mutation::Truncated => parts.sections[a].bytes = truncated(original.sections[a].bytes.clone(), random),
        Mutation::Bits if !repair && random.below(2) == 0 => {
            let mut file = original.file(true);
            flip_bits(&mut file, random);
            return (file, false);
        }
        Mutation::Bits => flip_bits(&mut parts.sections[a].bytes, random),
        Mutation::Overwritten => overwrite(&mut parts.sections[a].bytes, random),
        Mutation::ForgedNumber => forge_number(&mut parts.sections[a].bytes, random),
        Mutation::CopiedNumber => copy_number(&mut parts.sections[a].bytes, random),
        Mutation::ForgedLength => {
            let length = parts.sections[a].bytes.len() as u64;
            parts.sections[a].length = Some(forged(length, random));
        }
        Mutation::SwappedSections if random.below(2) == 0 => parts.sections.swap(a, b),
        Mutation::SwappedSections => {
            let bytes = std::mem::replace(&mut parts.sections[a].bytes, original.sections[b].bytes.clone());
            parts.sections[b].bytes = bytes;
        }
        Mutation::DuplicatedSection if random.below(2) == 0 => parts.sections.insert(a, original.sections[b].clone()),
        Mutation::DuplicatedSection => parts.sections[a].bytes = original.sections[b].bytes.clone(),
        Mutation::EmptiedSection if random.below(2) == 0 => parts.sections[a].bytes.clear(),
        Mutation::EmptiedSection => drop(parts.sections.remove(a)),
        Mutation::Spliced if random.below(2) == 0 => parts.sections[a] = other.sections[a].clone(),
        Mutation::Spliced => parts.sections[a].bytes = other.sections[a].bytes.clone(),
        Mutation::OtherModel => match random.below(3) {
            0 => flip_bits(&mut parts.model, random),
            1 => flip_bits(&mut parts.kind, random),
            _ => parts.dimensions = forged(parts.dimensions.into(), random) as u32,
        },
        Mutation::OtherVersion => parts.version = forged(parts.version.into(), random) as u32,
    }
    (parts.file(repair), repair)
}

fn truncated(mut file: Vec<u8>, random: &mut Random) -> Vec<u8> {
    if random.below(4) == 0 {
        let more = random.below(40);
        file.extend((0..=more).map(|_| random.next() as u8));
    } else {
        file.truncate(random.below(file.len()));
    }
    file
}

fn flip_bits(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << random.below(8);
        }
    }
}

fn overwrite(bytes: &mut [u8], random: &mut Random) {
    let start = random.below(bytes.len());
    let end = bytes.len().min(start + 1 + random.below(64));
    let fill = [Some(0), Some(0xFF), None][random.below(3)];
    bytes[start..end].iter_mut().for_each(|byte| *byte = fill.unwrap_or_else(|| random.next() as u8));
}

/// What a length or an index would be wrong with, or just not be what it was.
fn forged(value: u64, random: &mut Random) -> u64 {
    match random.below(9) {
        0 => 0,
        1 => value.wrapping_add(1),
        2 => value.wrapping_sub(1),
        3 => u32::MAX.into(),
        4 => u64::MAX,
        5 => u64::MAX / 8 + 1,
        6 => value.wrapping_mul(2),
        7 => i64::MAX as u64,
        _ => random.next() >> random.below(64),
    }
}

/// Where a number may begin: lists are aligned with the begin or the end of their section, what stands behind texts is not.
fn place(bytes: &[u8], random: &mut Random) -> usize {
    let at = random.below(bytes.len().saturating_sub(7));
    match random.below(5) {
        0 | 1 => at / 4 * 4,
        2 | 3 => (at / 4 * 4 + bytes.len() % 4).min(bytes.len()),
        _ => at,
    }
}

fn forge_number(bytes: &mut [u8], random: &mut Random) {
    let width = [4, 4, 8][random.below(3)];
    // Counts stand first.
    let at = if random.below(8) == 0 { 0 } else { place(bytes, random) };
    if let Some(place) = bytes.get_mut(at..at + width) {
        let mut value = [0; 8];
        value[..width].copy_from_slice(place);
        place.copy_from_slice(&forged(u64::from_le_bytes(value), random).to_le_bytes()[..width]);
    }
}

/// Half of the time to a place near by, which is most often another number of the same list.
fn copy_number(bytes: &mut [u8], random: &mut Random) {
    let from = place(bytes, random);
    let near = (from + random.below(16) * 4).saturating_sub(32);
    let to = if random.below(2) == 0 { near } else { place(bytes, random) };
    if from.max(to) + 4 <= bytes.len() {
        bytes.copy_within(from..from + 4, to);
    }
}

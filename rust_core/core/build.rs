//! Turns the vocabularies bundled by `tiktoken-rs` and the Unicode tables of `regex-syntax` into flat tables.
//!
//! The tables are embedded in the library: nothing is parsed or hashed at run time, start-up costs nothing and the pages
//! are file-backed, so processes share them and an unused encoding is never read from disk.
//!
//! Table layout, all integers little-endian `u32`:
//! `ENCODING.slots`: `2^k` open-addressing slots, 0 = empty, else `rank + 1` in the low 18 bits and a 14 bit tag of the
//! hash above; `ENCODING.starts`: `n + 1` offsets; `ENCODING.bytes`: the tokens one after another in rank order.

use std::path::{Path, PathBuf};
use std::{env, fs};

use regex_syntax::hir::{Class, HirKind};

#[path = "src/tokens/hash.rs"]
mod hash;

/// Bits of the Unicode class table; `src/tokens/classes.rs` reads them.
const CLASSES: [(&str, u8); 8] = [
    (r"\p{Lu}", 1),
    (r"\p{Lt}", 1),
    (r"\p{Ll}", 2),
    (r"\p{Lm}", 1 | 2),
    (r"\p{Lo}", 1 | 2),
    (r"\p{M}", 1 | 2 | 32),
    (r"\p{N}", 8),
    (r"\s", 16),
];
const LETTER: u8 = 4;
const BLOCK: usize = 128;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/tokens/hash.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let o200k = tiktoken_rs::o200k_base().expect("bundled vocabulary");
    write_vocabulary(&out, "o200k_base", &o200k, 199_998, 1 << 19);
    let cl100k = tiktoken_rs::cl100k_base().expect("bundled vocabulary");
    write_vocabulary(&out, "cl100k_base", &cl100k, 100_256, 1 << 18);
    write_classes(&out);
}

fn write_vocabulary(out: &Path, name: &str, bpe: &tiktoken_rs::CoreBPE, ranks: u32, slots: usize) {
    let mut table = vec![0u32; slots];
    let (mut starts, mut bytes) = (vec![0u32], Vec::new());
    for rank in 0..ranks {
        let token = bpe.decode_bytes(&[rank]).expect("ranks are contiguous");
        let hash = hash::hash(&token);
        let mut at = hash as usize & (slots - 1);
        while table[at] != 0 {
            at = (at + 1) & (slots - 1);
        }
        table[at] = hash::tag(hash) | (rank + 1);
        bytes.extend_from_slice(&token);
        starts.push(u32::try_from(bytes.len()).expect("vocabulary under 4 GB"));
    }
    write(out, &format!("{name}.slots"), &little_endian(&table));
    write(out, &format!("{name}.starts"), &little_endian(&starts));
    write(out, &format!("{name}.bytes"), &bytes);
}

/// A two-stage table: code point / 128 -> block number -> class bits of the code point.
fn write_classes(out: &Path) {
    let mut flat = vec![0u8; 0x11_0000];
    for (pattern, bits) in CLASSES {
        paint(&mut flat, pattern, bits);
    }
    paint(&mut flat, r"\p{L}", LETTER);
    let (mut index, mut blocks): (Vec<u8>, Vec<&[u8]>) = (Vec::new(), Vec::new());
    for block in flat.chunks(BLOCK) {
        let number = blocks.iter().position(|known| *known == block).unwrap_or_else(|| {
            blocks.push(block);
            blocks.len() - 1
        });
        index.push(u8::try_from(number).expect("fewer than 256 distinct blocks"));
    }
    write(out, "classes.index", &index);
    write(out, "classes.blocks", &blocks.concat());
}

fn paint(flat: &mut [u8], pattern: &str, bits: u8) {
    let hir = regex_syntax::parse(pattern).expect("valid class");
    let HirKind::Class(Class::Unicode(class)) = hir.kind() else { panic!("{pattern} is a Unicode class") };
    for range in class.ranges() {
        flat[range.start() as usize..=range.end() as usize].iter_mut().for_each(|class| *class |= bits);
    }
}

fn little_endian(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn write(out: &Path, name: &str, bytes: &[u8]) {
    fs::write(out.join(name), bytes).expect("OUT_DIR is writable");
}

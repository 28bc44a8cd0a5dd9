//! How long a snapshot takes: `cargo run --release -p memd-core --example snapshot_times [MEMORIES]`.
//!
//! Synthetic memories: 12 words each of a vocabulary with Zipf's distribution, one vector of 384 components in one of some
//! clusters, some fields. Above `FLAT_MAX_ROWS` memories the vectors are linked first.
//! Printed: milliseconds (best and median of some rounds) and bytes.

use std::error::Error;
use std::time::Instant;

use memd_core::namespace_index::{Entry, NamespaceIndex};
use memd_core::snapshot::{Expected, Header};

const DIMENSIONS: usize = 384;
const WORDS: usize = 12;
const VOCABULARY: f64 = 50_000.0;
const CLUSTERS: usize = 300;
const ROUNDS: usize = 7;

/// xorshift64* (Vigna, 2016).
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn vector(random: &mut Random, near: &[f32]) -> Vec<f32> {
    near.iter().map(|x| x + random.unit() as f32 - 0.5).collect()
}

fn entry(number: usize, random: &mut Random, centres: &[Vec<f32>]) -> Entry {
    let words: Vec<String> = (0..WORDS).map(|_| format!("w{}", VOCABULARY.powf(random.unit()) as u32)).collect();
    let mut pick = |of: u32| (random.unit() * f64::from(of)) as u32;
    let fields = format!(
        r#"{{"user_id":"u{}","agent_id":"a{}","session_id":"s{}","source":"user","create_time":{},"event_time":{},"importance":0.{},"tags":["t{}"],"metadata":{{"k":{}}}}}"#,
        pick(20),
        pick(5),
        pick(3000),
        1_700_000_000_000_000 + number,
        1_700_000_000_000_000 + number,
        pick(10),
        pick(50),
        pick(9),
    );
    Entry {
        memory_id: format!("{number:032x}"),
        version: 1,
        text: words.join(" "),
        embeddings: vector(random, &centres[number % CLUSTERS]).into_iter().flat_map(f32::to_le_bytes).collect(),
        fields: fields.into_bytes(),
    }
}

fn time<T>(what: &str, mut run: impl FnMut() -> T) -> T {
    let mut rounds: Vec<f64> = Vec::new();
    let mut last = None;
    for _ in 0..ROUNDS {
        drop(last.take());
        let start = Instant::now();
        last = Some(run());
        rounds.push(start.elapsed().as_secs_f64() * 1e3);
    }
    rounds.sort_by(f64::total_cmp);
    println!("{what}: best {:.0} ms, median {:.0} ms", rounds[0], rounds[ROUNDS / 2]);
    last.expect("there is at least one round")
}

fn main() -> Result<(), Box<dyn Error>> {
    let memories: usize = std::env::args().nth(1).map_or(Ok(100_000), |count| count.parse())?;
    let index = NamespaceIndex::new(DIMENSIONS)?;
    let mut random = Random(42);
    let centres: Vec<Vec<f32>> = (0..CLUSTERS).map(|_| vector(&mut random, &[0.0; DIMENSIONS])).collect();
    let start = Instant::now();
    for batch in (0..memories).collect::<Vec<_>>().chunks(1000) {
        let entries: Vec<Entry> = batch.iter().map(|&number| entry(number, &mut random, &centres)).collect();
        index.upsert(&entries.iter().collect::<Vec<_>>(), 1)?;
    }
    println!("{memories} memories made and added: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    while index.maintain(usize::MAX, 2)?.left > 0 {}
    println!("linked: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let header = Header { model: "model".into(), kind: "semantic".into(), watermark: 1 };
    let expected = Expected { model: "model".into(), dimensions: DIMENSIONS, kind: "semantic".into() };
    let path = std::env::temp_dir().join(format!("snapshot_times.{}", std::process::id()));
    let bytes = time("encode and checksum", || index.to_snapshot(&header))?;
    println!("{} bytes, {} a memory", bytes.len(), bytes.len() / memories.max(1));
    time("checksum alone", || xxhash_rust::xxh3::xxh3_64(&bytes));
    time("decode from memory", || NamespaceIndex::from_snapshot(&bytes, &expected))?;
    drop(bytes);
    time("save", || index.save(&path, &header))?;
    let (loaded, _) = time("load", || NamespaceIndex::load(&path, &expected))?;
    println!("heap estimate: built {}, loaded {}", index.memory_bytes()?, loaded.memory_bytes()?);
    std::fs::remove_file(&path)?;
    Ok(())
}

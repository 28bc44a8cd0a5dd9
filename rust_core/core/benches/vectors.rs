//! The loops of vector search: `cargo bench -p memd-core --bench vectors`.

use std::hint::black_box;
use std::sync::RwLock;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use memd_core::bitmap::Bitmap;
use memd_core::index::kernels::{BLOCK_ROWS, BlockDots, Level, MAX_GATHER, Probe, dot_codes, dot_gather};
use memd_core::index::{Maintenance, Prepared, PreparedQuery, SearchOptions, VectorIndex, Vectors};

const DIMENSIONS: usize = 384;
const ROWS: usize = 30_000;
const CLUSTERS: usize = 300;

/// Vectors around centres, from a fixed seed.
struct Clustered {
    state: u64,
    centres: Vec<Vec<f32>>,
}

impl Clustered {
    fn new() -> Self {
        let mut made = Self { state: 7, centres: Vec::new() };
        made.centres = (0..CLUSTERS).map(|_| (0..DIMENSIONS).map(|_| made.uniform()).collect()).collect();
        made
    }

    fn uniform(&mut self) -> f32 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.state >> 40) as f32 / (1 << 24) as f32 - 0.5
    }

    fn vector(&mut self) -> Vec<f32> {
        let cluster = (self.uniform().abs() * 2.0 * CLUSTERS as f32) as usize % CLUSTERS;
        let centre = self.centres[cluster].clone();
        centre.into_iter().map(|x| x + 0.8 * self.uniform()).collect()
    }
}

fn kernels(criterion: &mut Criterion) {
    let mut clustered = Clustered::new();
    let rows: Vec<Prepared> = (0..BLOCK_ROWS).map(|_| Prepared::new(&clustered.vector())).collect();
    let codes: Vec<i8> = rows.iter().flat_map(|row| row.codes.iter().copied()).collect();
    let query = PreparedQuery::new(&clustered.vector());
    let mut group = criterion.benchmark_group("kernels");
    for level in Level::available() {
        let mut dots = BlockDots { high: [0; BLOCK_ROWS], low: [0; BLOCK_ROWS] };
        let all = [u64::MAX; BLOCK_ROWS / 64];
        group.bench_function(BenchmarkId::new("block of 512 rows, two digits", level.name()), |bencher| {
            bencher.iter(|| dot_codes(level, black_box(&codes), &query.codes, &all, &mut dots));
        });
        let probe = Probe::new(&query.codes.high, query.scale);
        let mut out = [0; MAX_GATHER];
        group.bench_function(BenchmarkId::new("gather of 32 rows", level.name()), |bencher| {
            bencher.iter(|| {
                let rows = rows.iter().step_by(BLOCK_ROWS / MAX_GATHER).map(|row| &row.codes[..]);
                dot_gather(level, black_box(&probe), rows, &mut out);
            });
        });
    }
}

fn walk(criterion: &mut Criterion) {
    let mut clustered = Clustered::new();
    let mut vectors = Vectors::with_flat_max_rows(DIMENSIONS, 0);
    (0..ROWS).for_each(|slot| vectors.insert(slot as u32, &[Prepared::new(&clustered.vector())]));
    let vectors = RwLock::new(vectors);
    Maintenance::default().run(&vectors, |v| v, ROWS, 2).expect("no thread dies");
    let vectors = vectors.into_inner().expect("no thread died");
    let queries: Vec<_> = (0..256).map(|_| PreparedQuery::new(&clustered.vector())).collect();
    let mut group = criterion.benchmark_group("search of 30,000");
    let mut bench = |name: &str, visible: Bitmap, options: SearchOptions| {
        let mut next = queries.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| vectors.search(next.next().expect("endless"), 10, &visible, &options, &|a, b| a.cmp(&b)));
        });
    };
    let every = |nth: usize| {
        let mut visible = Bitmap::zeros(ROWS);
        (0..ROWS).step_by(nth).for_each(|slot| visible.set(slot as u32));
        visible
    };
    for ef in [32, 64, 128] {
        bench(&format!("walk, ef {ef}"), every(1), SearchOptions { ef: Some(ef), exact: false });
    }
    bench("filter of 50 %", every(2), SearchOptions::default());
    bench("filter of 10 %", every(10), SearchOptions::default());
    bench("filter of 1 %", every(100), SearchOptions::default());
    bench("scan", every(1), SearchOptions { ef: None, exact: true });
}

criterion_group!(benches, kernels, walk);
criterion_main!(benches);

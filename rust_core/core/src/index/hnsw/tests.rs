use std::collections::BTreeMap;
use std::sync::RwLock;
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::index::planner::scan_cost;
use crate::index::{Maintenance, Vectors, Work, best_first};

mod snapshot;

const DIMENSIONS: usize = 24;

/// A graph index from the first row on, with its lock and its maintenance.
struct Fixture {
    vectors: RwLock<Vectors>,
    maintenance: Maintenance,
}

impl Fixture {
    fn new(dimensions: usize) -> Self {
        let mut vectors = Vectors::with_flat_max_rows(dimensions, 0);
        // The first row makes it a graph.
        vectors.insert(0, &[Prepared::new(&vec![1.0; dimensions])]);
        vectors.remove(0);
        Self { vectors: RwLock::new(vectors), maintenance: Maintenance::default() }
    }

    fn insert(&self, slot: u32, windows: &[Vec<f32>]) {
        let windows: Vec<Prepared> = windows.iter().map(|w| Prepared::new(w)).collect();
        self.vectors.write().unwrap().insert(slot, &windows);
    }

    fn remove(&self, slot: u32) -> bool {
        self.vectors.write().unwrap().remove(slot)
    }

    fn maintain(&self, max_rows: usize, threads: usize) -> Work {
        self.maintenance.run(&self.vectors, |v| v, max_rows, threads).unwrap()
    }

    fn settle(&self) {
        while self.maintain(usize::MAX, 2).left > 0 {}
    }

    fn with<T>(&self, look: impl FnOnce(&HnswIndex) -> T) -> T {
        look(self.vectors.read().unwrap().graph().unwrap())
    }

    /// Hits and cost.
    fn find(&self, query: &[f32], k: usize, visible: &Bitmap, options: SearchOptions) -> (Vec<(u32, f32)>, usize) {
        self.with(|index| index.find(&PreparedQuery::new(query), k, visible, &options, &by_slot))
    }

    /// Part of the exact answers that default searches find.
    fn recall(&self, queries: &[Vec<f32>], k: usize, visible: &Bitmap) -> f64 {
        let (mut hits, mut wanted) = (0, 0);
        for query in queries {
            let exact = self.find(query, k, visible, EXACT).0;
            let found = self.find(query, k, visible, SearchOptions::default()).0;
            // Equal cosines are equally right.
            let worst = exact.last().map_or(0.0, |hit| hit.1);
            hits += found.iter().filter(|hit| hit.1 >= worst).count();
            wanted += exact.len();
        }
        hits as f64 / wanted as f64
    }

    /// Nearly all is found and the graph is sound, before and after maintenance.
    fn check_recall_around_settling(&self, queries: &[Vec<f32>]) {
        for _ in 0..2 {
            let recall = self.recall(queries, 10, &everything());
            assert!(recall >= 0.98, "{recall}");
            self.settle();
            self.with(check);
        }
    }
}

const EXACT: SearchOptions = SearchOptions { ef: None, exact: true };

fn by_slot(a: u32, b: u32) -> Ordering {
    a.cmp(&b)
}

fn everything() -> Bitmap {
    Bitmap::ones(1 << 20)
}

/// Vectors in clusters, from a seed.
struct Clusters {
    state: u64,
    centres: Vec<Vec<f32>>,
}

impl Clusters {
    fn new(seed: u64, clusters: usize) -> Self {
        let mut made = Self { state: seed, centres: Vec::new() };
        made.centres = (0..clusters).map(|_| (0..DIMENSIONS).map(|_| made.normal()).collect()).collect();
        made
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.state >> 33
    }

    /// Sum of uniform numbers: near enough.
    fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.next() as f32 / (1u64 << 31) as f32 - 0.5).sum()
    }

    fn near(&mut self, cluster: usize) -> Vec<f32> {
        let centre = self.centres[cluster % self.centres.len()].clone();
        centre.into_iter().map(|x| x + 0.6 * self.normal()).collect()
    }

    fn vector(&mut self) -> Vec<f32> {
        let cluster = self.next() as usize;
        self.near(cluster)
    }

    fn vectors(&mut self, n: usize) -> Vec<Vec<f32>> {
        (0..n).map(|_| self.vector()).collect()
    }
}

fn filled(vectors: &[Vec<f32>]) -> Fixture {
    let fixture = Fixture::new(DIMENSIONS);
    for (slot, vector) in vectors.iter().enumerate() {
        fixture.insert(slot as u32, std::slice::from_ref(vector));
    }
    fixture.settle();
    fixture
}

/// What has to hold whenever no maintenance is under way.
fn check(index: &HnswIndex) {
    let count = |bits: &Bitmap| bits.count();
    let counts = index.counts;
    assert_eq!(
        (count(&index.live), count(&index.tail), count(&index.linked)),
        (counts.live, counts.tail, counts.linked)
    );
    let dead = index.linked.iter().filter(|&row| !index.live.get(row)).count();
    assert_eq!(dead, counts.dead);
    assert_eq!(counts.live, counts.tail + counts.linked - counts.dead);
    let free: Vec<u32> = index.free.iter().map(|Reverse(row)| *row).collect();
    assert_eq!(free.len() + counts.live + counts.dead, index.end as usize);
    assert!(free.iter().all(|&row| !index.live.get(row) && !index.linked.get(row) && row < index.end));
    assert!(free.iter().all(|&row| index.table.codes(row).iter().all(|&code| code == 0)), "free rows are wiped");
    for row in index.live.iter() {
        let owner = index.table.owner(row).expect("a live row has an owner");
        assert!(index.slots.get(owner.slot).contains(&row));
        assert_eq!(owner.first, index.slots.get(owner.slot)[0] == row);
    }
    for row in index.linked.iter() {
        if index.table.is_twin(row) {
            assert_eq!(index.table.neighbours(row, 0).next(), None);
            continue;
        }
        assert!(index.table.twins(row).all(|twin| index.linked.get(twin) && index.table.are_equal(row, twin)));
        for level in 0..=params::level_of(row) {
            let links: Vec<u32> = index.table.neighbours(row, level).collect();
            assert!(links.iter().all(|&to| index.linked.get(to)
                && !index.table.is_twin(to)
                && params::level_of(to) >= level
                && to != row));
            assert!((1..links.len()).all(|at| !links[..at].contains(&links[at])), "a link twice");
        }
    }
    match index.graph.enter() {
        None => assert_eq!(counts.linked - counts.dead, 0),
        Some(enter) => assert!(index.linked.get(enter.row) && params::level_of(enter.row) == enter.level),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, Vec<Vec<f32>>),
    Remove(u32),
    Maintain(usize, usize),
}

/// Some equal, some 0.
fn vector() -> impl Strategy<Value = Vec<f32>> {
    prop_oneof![
        6 => vec(-1f32..1.0, DIMENSIONS),
        1 => Just(vec![0.0; DIMENSIONS]),
        1 => Just(vec![1.0; DIMENSIONS]),
        1 => vec(prop_oneof![Just(f32::MAX), Just(f32::MIN), Just(1e-45f32)], DIMENSIONS),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u32..300, vec(vector(), 0..4)).prop_map(|(slot, windows)| Step::Insert(slot, windows)),
        2 => (0u32..300).prop_map(Step::Remove),
        1 => (1usize..60, 1usize..3).prop_map(|(rows, threads)| Step::Maintain(rows, threads)),
    ];
    vec(step, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn answers_are_full_visible_and_true_after_any_changes(
        steps in steps(), query in vector(), k in 0usize..400, ef in 1usize..100, shown in vec(any::<bool>(), 300),
    ) {
        let fixture = Fixture::new(DIMENSIONS);
        let mut model = BTreeMap::new();
        for step in steps {
            match step {
                Step::Insert(slot, windows) => {
                    fixture.insert(slot, &windows);
                    model.insert(slot, windows.len());
                }
                Step::Remove(slot) => {
                    let had = model.remove(&slot).is_some_and(|windows| windows > 0);
                    prop_assert_eq!(fixture.remove(slot), had);
                }
                Step::Maintain(rows, threads) => { fixture.maintain(rows, threads); }
            }
        }
        fixture.with(check);
        let mut visible = Bitmap::zeros(300);
        shown.iter().enumerate().filter(|(_, shown)| **shown).for_each(|(at, _)| visible.set(at as u32));
        let prepared = PreparedQuery::new(&query);
        let mut all: Vec<(u32, f32)> = model
            .iter()
            .filter(|(slot, windows)| visible.get(**slot) && **windows > 0)
            .map(|(&slot, _)| (slot, fixture.with(|index| index.cosine(slot, &prepared)).unwrap()))
            .collect();
        all.sort_by(|a, b| best_first(*a, *b, &by_slot));
        let wanted = k.min(all.len());
        prop_assert_eq!(&fixture.find(&query, k, &visible, EXACT).0[..], &all[..wanted]);
        let found = fixture.find(&query, k, &visible, SearchOptions { ef: Some(ef), exact: false }).0;
        prop_assert_eq!(found.len(), wanted);
        prop_assert!(found.is_sorted_by(|a, b| best_first(*a, *b, &by_slot).is_lt()), "sorted, no slot twice");
        prop_assert!(found.iter().all(|hit| all.contains(hit)));
    }
}

#[test]
fn default_searches_find_nearly_all() {
    let mut clusters = Clusters::new(1, 50);
    let fixture = filled(&clusters.vectors(8000));
    fixture.with(check);
    let queries = clusters.vectors(100);
    let recall = fixture.recall(&queries, 10, &everything());
    assert!(recall >= 0.98, "{recall}");
    let spent: usize = queries.iter().map(|q| fixture.find(q, 10, &everything(), SearchOptions::default()).1).sum();
    assert!(spent / queries.len() < 3000, "walks, does not scan: {spent}");
}

#[test]
fn one_thread_builds_the_same_graph_each_time() {
    let vectors = Clusters::new(2, 20).vectors(3000);
    let links = |fixture: Fixture| {
        fixture.with(|index| {
            index.linked.iter().map(|row| index.table.neighbours(row, 0).collect()).collect::<Vec<Vec<u32>>>()
        })
    };
    let build = || {
        let fixture = Fixture::new(DIMENSIONS);
        vectors.iter().enumerate().for_each(|(slot, v)| fixture.insert(slot as u32, std::slice::from_ref(v)));
        fixture.maintain(usize::MAX, 1);
        links(fixture)
    };
    assert_eq!(build(), build());
}

/// Every memory replaced ten times, in another order each time, with what the daemon does meanwhile: maintenance after every
/// few writes until nothing is left.
fn turn_over(memories: u32, writes: u32, queries: usize) {
    let mut clusters = Clusters::new(3, 40);
    let first = clusters.vectors(memories as usize);
    let fixture = filled(&first);
    let mut last = first;
    for _turn in 0..10 {
        for at in 0..memories {
            let slot = (u64::from(at) * 7919 % u64::from(memories)) as u32;
            last[slot as usize] = clusters.vector();
            fixture.insert(slot, std::slice::from_ref(&last[slot as usize]));
            if at % writes == 0 {
                fixture.settle();
            }
        }
    }
    fixture.settle();
    fixture.with(check);
    let fresh = filled(&last);
    let queries = clusters.vectors(queries);
    let (churned, new) = (fixture.recall(&queries, 10, &everything()), fresh.recall(&queries, 10, &everything()));
    assert!(churned >= new - 0.02, "recall {churned}, of a fresh build {new}");
    let (end, room) = fixture.with(|index| (index.end, index.table.capacity()));
    println!("recall {churned}, of a fresh build {new}; {end} rows in room for {room}");
    assert!(end <= memories + memories / 20, "{end} rows for {memories} memories");
    let bytes = |fixture: &Fixture| fixture.with(HnswIndex::memory_bytes);
    println!("{} bytes, of a fresh build {}", bytes(&fixture), bytes(&fresh));
    assert!(bytes(&fixture) as f64 <= 1.05 * bytes(&fresh) as f64);
}

#[test]
fn ten_turnovers_do_not_rot_the_graph() {
    turn_over(1500, 10, 100);
}

/// Of 8,192 rows every one has its place in two blocks: what dies meanwhile needs a third, which is given back.
#[test]
fn a_block_that_repair_left_nearly_empty_is_given_back() {
    const MEMORIES: u32 = 2 * block::ROWS as u32;
    let mut clusters = Clusters::new(9, 40);
    let fixture = filled(&clusters.vectors(MEMORIES as usize));
    let room = || fixture.with(|index| index.table.capacity());
    assert_eq!(room(), MEMORIES as usize);
    let mut last = BTreeMap::new();
    for at in 0..MEMORIES / 32 {
        let slot = at * 7919 % MEMORIES;
        // Some have two windows for a while.
        let windows = if at % 50 == 0 { clusters.vectors(2) } else { clusters.vectors(1) };
        fixture.insert(slot, &windows);
        fixture.insert(slot, &windows[..1]);
        last.insert(slot, windows[0].clone());
    }
    assert!(room() > MEMORIES as usize, "the dead are still there");
    fixture.settle();
    fixture.with(check);
    assert_eq!(room(), MEMORIES as usize);
    for (slot, vector) in last {
        let hits = fixture.find(&vector, 1, &everything(), SearchOptions::default()).0;
        assert_eq!(hits[0].0, slot);
    }
}

#[test]
#[ignore = "takes minutes"]
fn ten_turnovers_do_not_rot_a_large_graph() {
    turn_over(20_000, 100, 300);
}

#[test]
fn a_forgotten_region_leaves_the_rest_findable() {
    let mut clusters = Clusters::new(4, 20);
    let fixture = Fixture::new(DIMENSIONS);
    for slot in 0..6000 {
        fixture.insert(slot, &[clusters.near(slot as usize % 20)]);
    }
    fixture.settle();
    // All of some clusters, and with them, sooner or later, the enter point.
    for slot in (0..6000).filter(|slot| slot % 20 < 15) {
        fixture.remove(slot);
        if slot % 20 == 7 {
            fixture.maintain(500, 1);
        }
    }
    // Dead rows lie close together where the query is, before and after the repair.
    let queries: Vec<_> = (0..100).map(|at| clusters.near(at)).collect();
    fixture.check_recall_around_settling(&queries);
}

#[test]
fn everything_removed_leaves_an_empty_index_that_fills_again() {
    let mut clusters = Clusters::new(5, 5);
    let fixture = filled(&clusters.vectors(10_000));
    (0..10_000).for_each(|slot| assert!(fixture.remove(slot)));
    assert_eq!(fixture.find(&clusters.vector(), 5, &everything(), SearchOptions::default()).0, []);
    fixture.settle();
    fixture.with(check);
    assert_eq!(fixture.with(|index| (index.counts, index.table.capacity())), (RowCounts::default(), block::ROWS));
    let vectors = clusters.vectors(1000);
    vectors.iter().enumerate().for_each(|(slot, v)| fixture.insert(slot as u32, std::slice::from_ref(v)));
    fixture.settle();
    fixture.with(check);
    assert!(fixture.recall(&clusters.vectors(50), 10, &everything()) >= 0.98);
}

#[test]
fn equal_vectors_do_not_slow_it_down() {
    let fixture = Fixture::new(DIMENSIONS);
    let mut clusters = Clusters::new(6, 10);
    // Duplicates lie around, and all zero ones, and few that differ.
    let same = clusters.vector();
    for slot in 0..20_000 {
        let vector = match slot % 10 {
            0 => vec![0.0; DIMENSIONS],
            1 if slot % 100 == 1 => clusters.vector(),
            _ => same.clone(),
        };
        fixture.insert(slot, &[vector]);
    }
    fixture.settle();
    fixture.with(check);
    let (hits, spent) = fixture.find(&same, 10, &everything(), SearchOptions::default());
    assert!(hits.len() == 10 && hits.iter().all(|hit| hit.1 > 0.99), "{hits:?}");
    assert!(spent <= 7_000, "{spent}");
    let (hits, _) = fixture.find(&[0.0; DIMENSIONS], 10, &everything(), SearchOptions::default());
    assert!(hits.len() == 10 && hits.iter().all(|hit| hit.1 == 0.0));
    assert!(fixture.recall(&clusters.vectors(50), 5, &everything()) >= 0.95);
}

#[test]
fn a_million_duplicates_are_one_place_in_the_graph() {
    const COPIES: u32 = 1_000_000;
    let fixture = Fixture::new(2);
    (0..COPIES).for_each(|slot| fixture.insert(slot, &[vec![1.0, 1.0]]));
    fixture.insert(COPIES, &[vec![1.0, -1.0]]);
    fixture.settle();
    for (query, first) in [([1.0, 1.0], 0), ([1.0, -1.0], COPIES)] {
        let (hits, spent) = fixture.find(&query, 10, &everything(), SearchOptions::default());
        assert!(hits.len() == 10 && hits[0].1 > 0.99 && spent < 100, "{hits:?} for {spent}");
        assert!(first == 0 || hits[0].0 == first);
    }
    (0..COPIES - 5).for_each(|slot| assert!(fixture.remove(slot)));
    fixture.settle();
    let hits = fixture.find(&[1.0, 1.0], 10, &everything(), SearchOptions::default()).0;
    let mut slots: Vec<u32> = hits.iter().map(|hit| hit.0).collect();
    slots.sort_unstable();
    assert_eq!(slots, (COPIES - 5..=COPIES).collect::<Vec<_>>());
}

#[test]
fn a_new_row_is_found_at_once_and_searches_go_on_while_others_link() {
    let mut clusters = Clusters::new(7, 30);
    let fixture = filled(&clusters.vectors(2000));
    let more = clusters.vectors(3000);
    thread::scope(|scope| {
        let linking = scope.spawn(|| (0..200).for_each(|_| _ = fixture.maintain(64, 2)));
        for (at, vector) in more.iter().enumerate() {
            let slot = 2000 + at as u32;
            fixture.insert(slot, std::slice::from_ref(vector));
            let hits = fixture.find(vector, 3, &everything(), SearchOptions::default()).0;
            assert_eq!(hits[0].0, slot);
            if at % 3 == 0 {
                fixture.remove(at as u32);
                let hits = fixture.find(vector, 50, &everything(), SearchOptions::default()).0;
                assert!(hits.len() == 50 && hits.iter().all(|hit| hit.0 != at as u32));
            }
        }
        linking.join().unwrap();
    });
    fixture.settle();
    fixture.with(check);
    assert!(fixture.recall(&clusters.vectors(50), 10, &everything()) >= 0.98);
}

/// Filters of every selectivity, at random, of what is near the query and of what is far from it: the way chosen may cost
/// at most twice what the better one does, and finds what there is.
fn never_wrong_by_more_than_two(clusters: usize) {
    const ROWS: u32 = 20_000;
    let mut made = Clusters::new(8, clusters);
    let vectors = made.vectors(ROWS as usize);
    let fixture = filled(&vectors);
    for query in made.vectors(10) {
        let near = fixture.find(&query, ROWS as usize, &everything(), EXACT).0;
        for share in [0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0] {
            let chosen = (f64::from(ROWS) * share) as usize;
            let random = |rank: usize| (rank as u64 * 2_654_435_761 % u64::from(ROWS)) as usize;
            for (kind, rank_of) in [("random", 0), ("near", 1), ("far", 2)] {
                let mut visible = Bitmap::zeros(ROWS as usize);
                for at in 0..chosen {
                    visible.set(match rank_of {
                        0 => random(at) as u32,
                        1 => near[at].0,
                        _ => near[near.len() - 1 - at].0,
                    });
                }
                let (found, spent) = fixture.find(&query, 10, &visible, SearchOptions::default());
                let exact = fixture.find(&query, 10, &visible, EXACT).0;
                let scan = scan_cost(visible.count());
                let walk = fixture.with(|index| index.walk_only(&PreparedQuery::new(&query), 10, &visible));
                let best = scan.min(walk);
                assert!(spent <= 2 * best + 100, "{share} {kind}: {spent}, scan {scan}, walk {walk}");
                let right = found.iter().filter(|hit| exact.contains(hit)).count();
                assert!(right * 10 >= exact.len() * 8, "{share} {kind}: {right} of {}", exact.len());
            }
        }
    }
}

#[test]
fn the_planner_is_never_wrong_by_more_than_two_where_walks_are_short() {
    never_wrong_by_more_than_two(40);
}

#[test]
fn the_planner_is_never_wrong_by_more_than_two_where_walks_are_long() {
    never_wrong_by_more_than_two(20_000);
}

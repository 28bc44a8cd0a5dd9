use proptest::collection::vec;
use proptest::prelude::*;

use super::kernels::Level;
use super::*;

const DIMENSIONS: usize = 70;

/// The plain definition: float cosines of everything visible, best window, sorted.
fn oracle(
    memories: &[(u32, Vec<Vec<f32>>)],
    index: &FlatIndex,
    query: &PreparedQuery,
    k: usize,
    visible: &Bitmap,
) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = memories
        .iter()
        .filter(|(slot, windows)| visible.get(*slot) && !windows.is_empty())
        .map(|(slot, _)| (*slot, index.cosine(*slot, query).unwrap()))
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

fn search(index: &FlatIndex, query: &PreparedQuery, k: usize, visible: &Bitmap) -> Vec<(u32, f32)> {
    index.search(query, k, visible, &SearchOptions::default(), &|a, b| a.cmp(&b))
}

/// Vectors of any size, some zero, some equal, some tiny, some close to each other.
fn vector() -> impl Strategy<Value = Vec<f32>> {
    prop_oneof![
        4 => vec(-1f32..1.0, DIMENSIONS),
        3 => vec(-0.01f32..0.01, DIMENSIONS).prop_map(|mut v| { v[3] += 1.0; v }),
        1 => Just(vec![0.0; DIMENSIONS]),
        1 => Just(vec![1.0; DIMENSIONS]),
        1 => vec(-1e-38f32..1e-38, DIMENSIONS),
        1 => vec(prop_oneof![Just(f32::MAX), Just(f32::MIN), Just(f32::MIN_POSITIVE), Just(1e-45f32)], DIMENSIONS),
    ]
}

fn prepare(windows: &[Vec<f32>]) -> Vec<Prepared> {
    windows.iter().map(|w| Prepared::new(w)).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, Vec<Vec<f32>>),
    Remove(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0u32..40, vec(vector(), 0..4)).prop_map(|(slot, windows)| Step::Insert(slot, windows)),
        1 => (0u32..45).prop_map(Step::Remove),
    ];
    vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn search_is_the_exact_scan_after_any_changes(
        steps in steps(), query in vector(), k in 0usize..50, shown in vec(any::<bool>(), 45), coded_from in 0usize..100,
    ) {
        for level in Level::available() {
            let mut index = FlatIndex::with_level(DIMENSIONS, level);
            let mut model = std::collections::BTreeMap::new();
            for (at, step) in steps.iter().enumerate() {
                if at == coded_from {
                    index.rows.make_codes();
                }
                match step {
                    Step::Insert(slot, windows) => {
                        index.insert(*slot, &prepare(windows));
                        model.insert(*slot, windows.clone());
                    }
                    Step::Remove(slot) => {
                        let had = model.remove(slot).is_some_and(|windows: Vec<_>| !windows.is_empty());
                        prop_assert_eq!(index.remove(*slot), had);
                    }
                }
            }
            let memories: Vec<_> = model.into_iter().collect();
            let mut visible = Bitmap::zeros(45);
            shown.iter().enumerate().filter(|(_, shown)| **shown).for_each(|(at, _)| visible.set(at as u32));
            let query = PreparedQuery::new(&query);
            for (slot, windows) in &memories {
                let best = windows.iter().map(|w| kernels::dot_f32(level, &Prepared::new(w).unit, &query.unit)).max_by(f32::total_cmp);
                prop_assert_eq!(index.cosine(*slot, &query), best.map(|b| b.clamp(-1.0, 1.0) + 0.0));
            }
            prop_assert_eq!(search(&index, &query, k, &visible), oracle(&memories, &index, &query, k, &visible), "{}", level.name());
        }
    }

    #[test]
    fn the_error_bound_holds(x in vector(), q in vector()) {
        let (x, q) = (Prepared::new(&x), PreparedQuery::new(&q));
        let exact: f64 = x.unit.iter().zip(&q.unit).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        for level in Level::available() {
            let mut dots = kernels::BlockDots { high: [0; kernels::BLOCK_ROWS], low: [0; kernels::BLOCK_ROWS] };
            kernels::dot_codes(level, &x.codes, &q.codes, &[1], &mut dots);
            let (cosine, error) = q.intervals(&dots, &[x.scale], &[x.residual]).next().unwrap();
            let gap = (f64::from(cosine) - exact).abs();
            prop_assert!(gap <= f64::from(error), "{gap}");
        }
    }
}

/// Several blocks of close vectors: the first pass must leave out nearly everything and lose nothing.
#[test]
fn many_blocks_give_the_exact_answer() {
    let mut state = 7u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let mut index = FlatIndex::new(384);
    let mut memories = Vec::new();
    for slot in 0..2000 {
        let windows: Vec<Vec<f32>> = (0..1 + slot % 3 / 2).map(|_| (0..384).map(|_| random()).collect()).collect();
        index.insert(slot, &prepare(&windows));
        memories.push((slot, windows));
    }
    for slot in (0..2000).step_by(7) {
        index.remove(slot);
    }
    memories.retain(|(slot, _)| slot % 7 != 0);
    assert!(!index.rows.are_slots());
    let query = PreparedQuery::new(&(0..384).map(|_| random()).collect::<Vec<_>>());
    let mut visible = Bitmap::ones(2000);
    assert_eq!(search(&index, &query, 50, &visible), oracle(&memories, &index, &query, 50, &visible));
    for slot in (0..2000).filter(|slot| slot % 50 != 1) {
        visible.clear(slot);
    }
    assert_eq!(search(&index, &query, 50, &visible), oracle(&memories, &index, &query, 50, &visible));
    assert_eq!(
        search(&index, &query, usize::MAX, &visible).len(),
        memories.iter().filter(|(s, _)| s % 50 == 1).count()
    );
}

#[test]
fn rows_know_whether_they_are_slots() {
    let mut index = FlatIndex::new(2);
    let one = prepare(&[vec![1.0, 0.0]]);
    (0..4).for_each(|slot| index.insert(slot, &one));
    assert!(index.rows.are_slots());
    index.remove(1);
    assert!(!index.rows.are_slots(), "row 3 moved to 1");
    index.remove(3);
    assert!(!index.rows.are_slots(), "slot 2 is row 1 or moved: {:?}", index.rows_of);
    index.remove(2);
    assert!(index.rows.are_slots());
    index.insert(1, &prepare(&[vec![1.0, 0.0], vec![0.0, 1.0]]));
    assert!(!index.rows.are_slots());
}

#[test]
fn bad_vectors_are_refused() {
    assert_eq!(decode_vectors(2, &[0; 12]), Err(Error::VectorSize { dimensions: 2, bytes: 12 }));
    assert_eq!(decode_vectors(1, &f32::NAN.to_le_bytes()), Err(Error::VectorNotFinite));
    assert_eq!(decode_vectors(1, &f32::NEG_INFINITY.to_le_bytes()), Err(Error::VectorNotFinite));
    assert_eq!(decode_vectors(2, &[]), Ok(vec![]));
    assert!(check_dimensions(0).is_err() && check_dimensions(MAX_DIMENSIONS + 1).is_err());
}

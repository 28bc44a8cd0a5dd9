//! What is loaded is sound, answers as what was saved, and has nothing of the dead.

use super::*;
use crate::index::hnsw::params::{NONE, level_of};
use crate::snapshot::{Error, Reader, Writer};

fn bytes_of(index: &HnswIndex) -> Vec<u8> {
    let mut out = Writer::default();
    index.encode(&mut out);
    out.into_bytes()
}

fn decoded(bytes: &[u8]) -> Result<HnswIndex, Error> {
    HnswIndex::decode(Reader::new(bytes), DIMENSIONS, &everything())
}

/// Saved and loaded.
fn reloaded(fixture: &Fixture) -> Fixture {
    let bytes = fixture.with(bytes_of);
    let loaded = decoded(&bytes).unwrap();
    check(&loaded);
    assert_eq!(loaded.counts.dead, 0);
    assert!(bytes_of(&loaded) == bytes, "nothing is lost or invented that a second snapshot would show");
    let made = Fixture::new(DIMENSIONS);
    *made.vectors.write().unwrap().graph_mut().unwrap() = loaded;
    made
}

fn run(fixture: &Fixture, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Insert(slot, windows) => fixture.insert(slot, &windows),
            Step::Remove(slot) => _ = fixture.remove(slot),
            Step::Maintain(rows, threads) => _ = fixture.maintain(rows, threads),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_loaded_graph_is_sound_and_answers_as_the_saved_one(
        before in steps(), after in steps(), query in vector(), k in 1usize..50,
    ) {
        let fixture = Fixture::new(DIMENSIONS);
        run(&fixture, before);
        let saved = fixture.find(&query, k, &everything(), EXACT).0;
        let fixture = reloaded(&fixture);
        prop_assert_eq!(fixture.find(&query, k, &everything(), EXACT).0, saved);
        run(&fixture, after);
        fixture.settle();
        fixture.with(check);
    }
}

#[test]
fn a_graph_with_dead_rows_is_still_one_when_loaded() {
    let mut clusters = Clusters::new(9, 20);
    let fixture = Fixture::new(DIMENSIONS);
    (0..4000).for_each(|slot| fixture.insert(slot, &[clusters.near(slot as usize % 20)]));
    fixture.settle();
    // All of some clusters, some of the others.
    (0..4000).filter(|slot| slot % 20 < 3 || slot % 7 == 0).for_each(|slot| _ = fixture.remove(slot));
    (4000..4100).for_each(|slot| fixture.insert(slot, &[clusters.near(slot as usize % 20)]));
    let saved = fixture.with(|index| index.counts);
    let fixture = reloaded(&fixture);
    let loaded = fixture.with(|index| index.counts);
    assert_eq!(loaded.live, saved.live);
    assert!(loaded.tail <= saved.tail + saved.live / 50, "{loaded:?} of {saved:?}");
    let queries: Vec<_> = (0..100).map(|at| clusters.near(at)).collect();
    fixture.check_recall_around_settling(&queries);
}

#[test]
fn an_equal_row_takes_the_place_of_a_dead_node() {
    let mut clusters = Clusters::new(10, 10);
    let mut fixture = Fixture::new(DIMENSIONS);
    let same = clusters.vector();
    for slot in 0..1000 {
        let vector = if slot % 2 == 0 { same.clone() } else { clusters.vector() };
        fixture.insert(slot, &[vector]);
    }
    fixture.maintain(usize::MAX, 1);
    assert!(fixture.remove(0));
    for _ in 0..2 {
        fixture = reloaded(&fixture);
        let counts = fixture.with(|index| index.counts);
        assert_eq!((counts.live, counts.tail), (999, 0));
        assert_eq!(fixture.find(&same, 499, &everything(), SearchOptions::default()).0.len(), 499);
    }
}

#[test]
fn it_may_be_saved_while_rows_are_linked() {
    let mut clusters = Clusters::new(11, 10);
    let fixture = Fixture::new(DIMENSIONS);
    clusters
        .vectors(2000)
        .iter()
        .enumerate()
        .for_each(|(slot, v)| fixture.insert(slot as u32, std::slice::from_ref(v)));
    thread::scope(|scope| {
        let linking = scope.spawn(|| while fixture.maintain(50, 2).left > 0 {});
        while !linking.is_finished() {
            check(&decoded(&fixture.with(bytes_of)).unwrap());
        }
        linking.join().unwrap();
    });
    assert_eq!(decoded(&fixture.with(bytes_of)).unwrap().counts.live, 2000);
}

/// A section written by hand: three rows on level 0, the last one equal to the first.
#[derive(Clone)]
struct Forged {
    owners: Vec<u32>,
    kinds: Vec<u8>,
    scales: Vec<f32>,
    codes: Vec<[i8; 2]>,
    twins: Vec<u32>,
    enter: u32,
    links: Vec<Vec<u32>>,
}

impl Forged {
    fn sound() -> Self {
        assert!((0..3).all(|row| level_of(row) == 0));
        Self {
            owners: vec![1, 3, 5],
            kinds: vec![1, 1, 2],
            scales: vec![1.0 / 127.0; 3],
            codes: vec![[127, 0], [0, 127], [127, 0]],
            twins: vec![0],
            enter: 1,
            links: vec![vec![1], vec![0]],
        }
    }

    fn refused(&self) -> bool {
        let mut out = Writer::default();
        out.count(self.owners.len());
        out.u32s(self.owners.iter().copied());
        out.bytes(&self.kinds);
        out.f32s(&self.scales);
        self.codes.iter().for_each(|row| out.i8s(row));
        out.u32s(self.twins.iter().copied());
        out.u32(self.enter);
        for list in &self.links {
            out.u8(list.len() as u8);
            out.u32s(list.iter().copied());
        }
        HnswIndex::decode(Reader::new(&out.into_bytes()), 2, &Bitmap::ones(3)).is_err()
    }
}

#[test]
fn each_thing_that_cannot_be_is_refused() {
    assert!(!Forged::sound().refused());
    let forge = |what: &str, change: &dyn Fn(&mut Forged)| {
        let mut forged = Forged::sound();
        change(&mut forged);
        assert!(forged.refused(), "{what}");
    };
    forge("vector of no memory", &|f| f.owners[2] = 7);
    forge("no first vector", &|f| f.owners[0] = 0);
    forge("two first vectors", &|f| f.owners[1] = 1);
    forge("a hole where a vector is", &|f| f.owners[1] = NONE);
    forge("unknown kind", &|f| f.kinds[2] = 3);
    for scale in [f32::NAN, f32::INFINITY, -1.0 / 127.0, 1.0, 0.9 / 127.0] {
        forge("scale", &|f| f.scales[1] = scale);
    }
    forge("code -128", &|f| f.codes[1] = [0, -128]);
    forge("length", &|f| f.codes[1] = [127, 127]);
    forge("twin of another vector", &|f| f.twins[0] = 1);
    forge("twin of itself", &|f| f.twins[0] = 2);
    forge("twin of none", &|f| f.twins[0] = NONE);
    forge("enter point that is a twin", &|f| f.enter = 2);
    forge("no enter point", &|f| f.enter = NONE);
    forge("link past the end", &|f| f.links[0] = vec![3]);
    forge("link to a twin", &|f| f.links[1] = vec![2]);
    forge("link to itself", &|f| f.links[0] = vec![0]);
    forge("link twice", &|f| f.links[0] = vec![1, 1]);
    forge("too many links", &|f| f.links[0] = vec![1; M0 + 1]);
    forge("list missing", &|f| drop(f.links.pop()));
    forge("list too many", &|f| f.links.push(vec![]));
}

#[test]
fn a_link_to_a_node_of_a_lower_level_is_refused() {
    let high = (0..).find(|&row| level_of(row) == 1).unwrap();
    assert_eq!(level_of(high + 1), 0);
    let forged = |upper: Vec<u32>| {
        let mut owners = vec![NONE; high as usize];
        owners.extend([1, 3]);
        let (scales, codes) = (vec![1.0 / 127.0; 2], vec![[127, 0], [0, 127]]);
        let links = vec![vec![high + 1], upper, vec![high]];
        Forged { owners, kinds: vec![1, 1], scales, codes, twins: vec![], enter: high, links }
    };
    assert!(!forged(vec![]).refused());
    assert!(forged(vec![high + 1]).refused());
}

#[test]
fn what_a_walk_costs_is_known_when_linked_and_when_loaded() {
    let mut clusters = Clusters::new(11, 20_000);
    let fixture = filled(&clusters.vectors(3000));
    let effort = fixture.with(|index| index.graph.effort());
    let ef = 80;
    let options = SearchOptions { ef: Some(ef), exact: false };
    let queries = clusters.vectors(50);
    let spent: usize = queries.iter().map(|q| fixture.find(q, 10, &everything(), options).1).sum();
    let each = spent as f32 / (queries.len() * ef) as f32;
    assert!((0.5..1.2).contains(&(effort / each)), "{effort} expected, {each} needed");
    let loaded = reloaded(&fixture).with(|index| index.graph.effort());
    assert!((0.8..1.25).contains(&(loaded / effort)), "{effort} when linked, {loaded} when loaded");
}

//! What is loaded answers as what was saved, and goes on like it.

#[path = "snapshot/samples.rs"]
mod samples;

use memd_core::index::FLAT_MAX_ROWS;
use memd_core::namespace_index::{Entry, NamespaceIndex};
use proptest::collection::vec;
use proptest::prelude::*;
use samples::{DIMENSIONS, ask, assert_consistent, entry, expected, header};

/// Upsert the content of one number under the id of another, remove, or link some vectors.
#[derive(Clone, Debug)]
enum Change {
    Upsert(u64, u64),
    Remove(u64),
    Maintain(usize),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let upsert = (0u64..20, 0u64..30).prop_map(|(id, content)| Change::Upsert(id, content));
    let maintain = (1usize..20).prop_map(Change::Maintain);
    vec(prop_oneof![6 => upsert, 2 => (0u64..20).prop_map(Change::Remove), 1 => maintain], 0..60)
}

fn apply(index: &NamespaceIndex, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Upsert(id, content) => {
                index.upsert(&[&Entry { memory_id: format!("m{id}"), ..entry(*content) }], 5).unwrap();
            }
            Change::Remove(id) => drop(index.remove(&[&format!("m{id}")], 6).unwrap()),
            Change::Maintain(rows) => drop(index.maintain(*rows, 1).unwrap()),
        }
    }
}

proptest! {
    #[test]
    fn the_loaded_index_answers_and_changes_like_the_saved_one(
        before in changes(), after in changes(), flat_max_rows in prop_oneof![Just(FLAT_MAX_ROWS), Just(0), Just(12)],
    ) {
        let saved = NamespaceIndex::new(DIMENSIONS).unwrap().with_flat_max_rows(flat_max_rows);
        apply(&saved, &before);
        let bytes = saved.to_snapshot(&header()).unwrap();
        let (loaded, watermark) = NamespaceIndex::from_snapshot(&bytes, &expected()).unwrap();
        let loaded = loaded.with_flat_max_rows(flat_max_rows);
        prop_assert_eq!((watermark, loaded.applied_seq(), loaded.dimensions()), (77, 77, DIMENSIONS));
        prop_assert_eq!(ask(&loaded), ask(&saved));
        assert_consistent(&loaded);
        // Nothing is lost or invented that a second snapshot would show.
        prop_assert_eq!(loaded.to_snapshot(&header()).unwrap(), bytes);
        apply(&saved, &after);
        apply(&loaded, &after);
        prop_assert_eq!(ask(&loaded), ask(&saved));
        prop_assert_eq!(loaded.len(), saved.len());
    }
}

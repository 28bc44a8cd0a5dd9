//! Files: replaced whole, private, and told apart by what to do about them.

#[path = "snapshot/samples.rs"]
mod samples;

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use memd_core::namespace_index::NamespaceIndex;
use memd_core::snapshot::{Error, Expected, FORMAT_VERSION, Header, MAX_NAME_BYTES, TEMPORARY_SUFFIX};
use memd_core::text::analyze;
use samples::{DIMENSIONS, ask, assert_consistent, entry, expected, header};

fn index(memories: u64) -> NamespaceIndex {
    let index = NamespaceIndex::new(DIMENSIONS).unwrap();
    let entries: Vec<_> = (0..memories).map(entry).collect();
    index.upsert(&entries.iter().collect::<Vec<_>>(), 77).unwrap();
    index
}

fn names(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn load(path: &Path, expected: &Expected) -> Result<(), Error> {
    NamespaceIndex::load(path, expected).map(drop)
}

#[test]
fn a_save_replaces_the_file_and_leaves_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.snapshot");
    for memories in [0, 30, 5] {
        let saved = index(memories);
        saved.save(&path, &header()).unwrap();
        let (loaded, watermark) = NamespaceIndex::load(&path, &expected()).unwrap();
        assert_eq!((ask(&loaded), watermark), (ask(&saved), 77));
        assert_consistent(&loaded);
        assert_eq!(names(directory.path()), ["a.snapshot"]);
    }
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_file_that_is_loaded_may_be_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.snapshot");
    index(20).save(&path, &header()).unwrap();
    let start = Barrier::new(3);
    thread::scope(|scope| {
        for memories in [20, 40] {
            let (start, path) = (&start, &path);
            scope.spawn(move || {
                let saved = index(memories);
                start.wait();
                (0..20).for_each(|_| saved.save(path, &header()).unwrap());
            });
        }
        start.wait();
        for _ in 0..200 {
            assert!([20, 40].contains(&NamespaceIndex::load(&path, &expected()).unwrap().0.len()));
        }
    });
    assert_eq!(names(directory.path()), ["a.snapshot"]);
}

#[test]
fn what_to_do_about_a_file_is_told_by_the_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.snapshot");
    assert!(matches!(load(&path, &expected()), Err(Error::Missing)));
    assert!(matches!(load(&path.join("deeper"), &expected()), Err(Error::Missing)));
    index(9).save(&path, &header()).unwrap();
    assert!(matches!(load(&path.join("not a directory"), &expected()), Err(Error::Io(_))));
    for stale in [
        Expected { model: "sha256:0123456789abcdee".into(), ..expected() },
        Expected { kind: "episodes".into(), ..expected() },
        Expected { dimensions: DIMENSIONS + 1, ..expected() },
    ] {
        assert!(matches!(load(&path, &stale), Err(Error::Stale(_))), "{stale:?}");
    }
    for dimensions in [0, usize::MAX] {
        assert!(matches!(load(&path, &Expected { dimensions, ..expected() }), Err(Error::Index(_))));
    }
    assert!(matches!(load(directory.path(), &expected()), Err(Error::Corrupt(_))));
    fs::write(&path, b"").unwrap();
    assert!(matches!(load(&path, &expected()), Err(Error::Corrupt(_))));
    fs::write(&path, b"SQLite format 3\0").unwrap();
    assert!(matches!(load(&path, &expected()), Err(Error::Corrupt(_))));
}

#[test]
fn a_save_that_fails_leaves_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.snapshot");
    // A directory of this name cannot be replaced by a file.
    fs::create_dir(&path).unwrap();
    assert!(matches!(index(3).save(&path, &header()), Err(Error::Io(_))));
    assert_eq!(names(directory.path()), ["a.snapshot"]);
    assert!(matches!(index(3).save(&directory.path().join("no").join("where"), &header()), Err(Error::Io(_))));
    assert!(matches!(index(3).save(Path::new("/"), &header()), Err(Error::Io(_))));
    let long = Header { model: "m".repeat(MAX_NAME_BYTES + 1), ..header() };
    assert!(matches!(index(3).save(&directory.path().join("b"), &long), Err(Error::Index(_))));
    assert!(names(directory.path()).iter().all(|name| !name.ends_with(TEMPORARY_SUFFIX)));
}

/// Terms are stored: with others for the same text, an old file would find the wrong memories.
#[test]
fn another_analysis_of_texts_is_another_format() {
    let text = "The RUNNING dogs' owners weren't caring: \u{2018}don\u{2019}t\u{2019} max_retry_count e-mail 3.14 1,000 \
                Stra\u{df}e na\u{ef}ve \u{6771}\u{4eac} \u{43f}\u{440}\u{438}\u{432}\u{435}\u{442} C++ a/b generously \
                universities relational hopping skies dying news tokio::spawn user@example.org \u{130}stanbul";
    let terms: Vec<String> = analyze(text).terms.into_iter().map(|(term, _)| term).collect();
    let known = (4, 17_531_223_358_720_731_789);
    let now = (FORMAT_VERSION, xxhash_rust::xxh3::xxh3_64(terms.join(" ").as_bytes()));
    assert_eq!(now, known, "raise FORMAT_VERSION, then put the new pair here: {terms:?}");
}

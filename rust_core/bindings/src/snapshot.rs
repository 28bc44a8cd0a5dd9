//! What can be wrong with a snapshot, as exceptions.

use std::io;
use std::path::PathBuf;

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyFileNotFoundError, PyOSError};
use pyo3::prelude::*;

use memd_core::snapshot::Error;

use crate::map_error;

create_exception!(
    memd._core,
    SnapshotStale,
    PyException,
    "Of another format, model, size of vectors or kind: build the index from the rows and save over it."
);
create_exception!(
    memd._core,
    SnapshotCorrupt,
    PyException,
    "Not what was written: put the file aside and build the index from the rows."
);

/// ENOENT, the same on every Unix.
const NOT_FOUND: i32 = 2;

/// Missing and refused files are `OSError`s as `open` raises them, with number and path.
pub fn map_snapshot_error(error: Error, path: PathBuf) -> PyErr {
    match error {
        Error::Missing => PyFileNotFoundError::new_err((NOT_FOUND, error.to_string(), path)),
        Error::Stale(_) => SnapshotStale::new_err(error.to_string()),
        Error::Corrupt(_) => SnapshotCorrupt::new_err(error.to_string()),
        Error::Io(error) => os_error(error, path),
        Error::Index(error) => map_error(error),
    }
}

fn os_error(error: io::Error, path: PathBuf) -> PyErr {
    match error.raw_os_error() {
        // OSError itself chooses the subclass by the number.
        Some(number) => PyOSError::new_err((number, error.kind().to_string(), path)),
        None => PyOSError::new_err(error.to_string()),
    }
}

//! What can be wrong with a snapshot, told apart by what to do about it.

use std::{fmt, io};

use crate::error;

/// Why there is no index, or no file. Messages name the place, never the content.
#[derive(Debug)]
pub enum Error {
    /// There is no file: build the index from the rows.
    Missing,
    /// Of another format, model, size of vectors or kind; the text says which. Build from the rows and overwrite it.
    Stale(&'static str),
    /// Not what was written; the text says what is wrong. Put the file aside and build from the rows.
    Corrupt(&'static str),
    /// The system refused to read or write.
    Io(io::Error),
    /// A parameter is out of bounds, or the index to be saved is broken.
    Index(error::Error),
}

/// Shorthand of the decoders.
pub(crate) fn corrupt<T>(what: &'static str) -> Result<T, Error> {
    Err(Error::Corrupt(what))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no snapshot"),
            Self::Stale(what) => write!(f, "the snapshot is of another {what}"),
            Self::Corrupt(what) => write!(f, "the snapshot is damaged: {what}"),
            Self::Io(error) => write!(f, "the snapshot could not be read or written: {error}"),
            Self::Index(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Index(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::Missing } else { Self::Io(error) }
    }
}

impl From<error::Error> for Error {
    fn from(error: error::Error) -> Self {
        Self::Index(error)
    }
}

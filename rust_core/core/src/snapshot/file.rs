//! Files: replaced whole or not at all, and read by mapping.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Mmap, MmapOptions};

use super::TEMPORARY_SUFFIX;
use super::error::{Error, corrupt};

/// Write a file so that at any moment, power cuts included, the path names the old content or the new, never a part: to a
/// temporary file beside it, synced, renamed, and the directory synced. Only the owner may read it: it is made of memories.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = temporary_path(path)?;
    let written = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // Nothing more can be done about one that stays; the error that matters is the first.
        let _ = fs::remove_file(&temporary);
        return Err(Error::Io(error));
    }
    sync_directory(path).map_err(Error::Io)
}

/// Unlike any other that is being written: two saves to one path must not share it.
fn temporary_path(path: &Path) -> Result<PathBuf, Error> {
    static SAVES: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(Error::Io(io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a file name")));
    };
    let mut temporary = OsString::from(name);
    temporary.push(format!(".{}-{}{TEMPORARY_SUFFIX}", process::id(), SAVES.fetch_add(1, Ordering::Relaxed)));
    Ok(path.with_file_name(temporary))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // In a container every process has the same number, so a crash may have left a file of this very name.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// The bytes of a file: pages of the system's cache, not of our heap.
pub(crate) struct Mapped(Mmap);

impl Mapped {
    pub fn open(path: &Path) -> Result<Self, Error> {
        // Before it is opened: opening a pipe would wait for its other end.
        if !fs::metadata(path)?.is_file() {
            return corrupt("it is not a file");
        }
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return corrupt("it is empty");
        }
        // SAFETY: a mapping is sound while nobody changes or shortens the file. Snapshots lie in a directory that only this
        // daemon writes (it holds a lock on it), and are only ever replaced by renaming, which leaves the mapped one alone.
        // Decoders validate the copies they make, not the mapping.
        let map = unsafe { MmapOptions::new().populate().map(&file)? };
        Ok(Self(map))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

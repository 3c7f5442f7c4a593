//! The spool's files: segments that only grow, the last of which is written to.
//!
//! # Guarantees
//! - What [`Log::append`] returned for with `durable` survives the machine.
//! - What it failed for is cut off again. Where even that fails, the segment is left as it is and
//!   the next one begun: whole records in it may then be found although their writer was told
//!   that they failed.
//! - A torn or rotten record costs itself only.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::record::{self, Record, Scan};

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) length: u32,
}

/// Why a folder can't be the spool.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("another hookgate uses the spool {0:?}; give another --spool-dir")]
    InUse(PathBuf),
    /// It can't be read or written.
    #[error("failed to open the spool {path:?}; is --spool-dir a folder that hookgate may write?")]
    Io {
        /// The folder or the file in it.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The files as far as they are written; tests have one that fails.
pub(super) trait Disk: fmt::Debug + Send {
    /// Opens a segment to append to it, new or not.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Segment>>;
}

/// A segment that is written.
pub(super) trait Segment: fmt::Debug + Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// The system's files.
#[derive(Debug)]
pub(super) struct Files;

impl Disk for Files {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Segment>> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        Ok(Box::new(file))
    }
}

impl Segment for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// What was found in a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Sound records.
    pub records: u64,
    /// Bytes that are no records, amid sound ones.
    pub rotten_bytes: u64,
    /// Bytes after the last sound record of a segment: a write that was cut off.
    pub torn_bytes: u64,
}

/// The segments of a folder.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    disk: Box<dyn Disk>,
    segment_bytes: u64,
    /// Every segment's length.
    segments: BTreeMap<u64, u64>,
    /// The last segment, while it can be written.
    active: Option<Box<dyn Segment>>,
    /// Held for as long as the folder is in use.
    _lock: File,
}

impl Log {
    /// Opens a folder and tells `take` every record in it, in the order they were written.
    pub(super) fn open(
        folder: &Path,
        disk: Box<dyn Disk>,
        segment_bytes: u64,
        mut take: impl FnMut(Location, Record<'_>),
    ) -> Result<(Self, Found), OpenError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed(folder))?;
        let lock = lock(folder)?;
        let mut log = Self {
            folder: folder.to_owned(),
            disk,
            segment_bytes,
            segments: BTreeMap::new(),
            active: None,
            _lock: lock,
        };
        let mut found = Found::default();
        let numbers = numbers(folder).map_err(failed(folder))?;
        for number in &numbers {
            let path = path(folder, *number);
            let bytes = fs::read(&path).map_err(failed(&path))?;
            let end = scan(*number, &bytes, &mut found, &mut take);
            log.segments.insert(*number, bytes.len() as u64);
            if Some(number) == numbers.last() {
                log.resume(*number, end).map_err(failed(&path))?;
            }
        }
        Ok((log, found))
    }

    /// Goes on in the last segment, without its torn tail.
    fn resume(&mut self, number: u64, sound_end: u64) -> io::Result<()> {
        let mut segment = self.disk.open(&path(&self.folder, number))?;
        segment.truncate(sound_end)?;
        segment.sync()?;
        self.segments.insert(number, sound_end);
        self.active = Some(segment);
        Ok(())
    }

    /// Appends records that stand one after the other in `bytes`; each ends where `ends` says.
    /// Either all are written, or none.
    pub(super) fn append(
        &mut self,
        bytes: &[u8],
        ends: &[usize],
        durable: bool,
    ) -> io::Result<Vec<Location>> {
        let (number, start) = self.room(bytes.len() as u64)?;
        let Some(active) = &mut self.active else {
            return Err(io::Error::other("the spool has no segment to write"));
        };
        let mut written = active.append(bytes);
        if durable && written.is_ok() {
            written = active.sync();
        }
        if let Err(error) = written {
            // After a failed sync nobody knows what the file holds, even if it can be cut.
            let cut = active.truncate(start).and_then(|()| active.sync());
            if cut.is_err() {
                self.active = None;
            }
            return Err(error);
        }
        self.segments.insert(number, start + bytes.len() as u64);
        let mut offset = start;
        let locations = ends.iter().map(|end| {
            let length = u32::try_from(start + *end as u64 - offset).unwrap_or(u32::MAX);
            let location = Location {
                segment: number,
                offset,
                length,
            };
            offset = start + *end as u64;
            location
        });
        Ok(locations.collect())
    }

    /// The segment to write to, and its length; a new one if the last is full or can't be written.
    fn room(&mut self, needed: u64) -> io::Result<(u64, u64)> {
        let last = self.segments.last_key_value().map(|(n, len)| (*n, *len));
        if let (Some((number, length)), Some(active)) = (last, &mut self.active) {
            if length == 0 || length + needed <= self.segment_bytes {
                return Ok((number, length));
            }
            // Changes are not synced one by one; they are before the segment is left. One that
            // is lost only means that something is sent again.
            if let Err(error) = active.sync() {
                tracing::error!(%error, "failed to sync a full segment of the spool");
            }
        }
        let number = last.map_or(1, |(number, _)| number + 1);
        let segment = self.disk.open(&path(&self.folder, number))?;
        sync_folder(&self.folder)?;
        self.segments.insert(number, 0);
        self.active = Some(segment);
        Ok((number, 0))
    }

    /// Makes everything that was appended durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.active.as_mut().map_or(Ok(()), |active| active.sync())
    }

    /// The oldest segment, unless it is the one that is written to.
    pub(super) fn oldest(&self) -> Option<u64> {
        let last = self.segments.last_key_value()?.0;
        self.segments
            .keys()
            .next()
            .filter(|first| *first != last)
            .copied()
    }

    /// Deletes a segment.
    pub(super) fn delete(&mut self, number: u64) -> io::Result<()> {
        match fs::remove_file(path(&self.folder, number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.segments.remove(&number);
        sync_folder(&self.folder)
    }

    /// The bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().sum()
    }
}

/// Reads the body of the entry at a place.
pub(super) fn body(folder: &Path, location: Location) -> io::Result<Vec<u8>> {
    let file = File::open(path(folder, location.segment))?;
    let mut bytes = vec![0; usize::try_from(location.length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, location.offset)?;
    match record::read(&bytes) {
        Some((Record::Entry { body, .. }, _)) => Ok(body.to_vec()),
        Some((Record::Change(_), _)) | None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the record is damaged",
        )),
    }
}

/// Tells the records of one segment; returns where the last sound one ends.
fn scan(
    segment: u64,
    bytes: &[u8],
    found: &mut Found,
    take: &mut impl FnMut(Location, Record<'_>),
) -> u64 {
    let mut scan = Scan::new(bytes);
    for (offset, length, record) in scan.by_ref() {
        found.records += 1;
        let location = Location {
            segment,
            offset: offset as u64,
            length: u32::try_from(length).unwrap_or(u32::MAX),
        };
        take(location, record);
    }
    found.rotten_bytes += scan.skipped as u64;
    found.torn_bytes += (bytes.len() - scan.sound_end) as u64;
    scan.sound_end as u64
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path);
    let locked = file.and_then(|file| match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    });
    match locked {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(OpenError::InUse(folder.to_owned())),
        Err(source) => Err(OpenError::Io { path, source }),
    }
}

/// The numbers of the segments in a folder, oldest first.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}.log"))
}

/// A new or deleted file is durable only when its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

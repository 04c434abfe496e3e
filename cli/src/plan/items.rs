//! An input for each task: texts from the job file, or the lines of a file. Short ones go
//! into the items file; a long one becomes a blob of its own, and is kept in an unnamed file
//! until it is sent, so that memory is bounded however long a line is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use wrun_protocol::Digest;
use wrun_protocol::items::{ItemsEncoder, ItemsError};
use wrun_protocol::job::Input;
use wrun_protocol::limits::{MAX_BLOB, MAX_ITEM_INLINE};
use wrun_protocol::task::Content;

use super::InputSource;
use super::load::{Blob, finish, memory_content, spool_failed, too_large};
use crate::error::Error;
use crate::exit::Exit;

/// An input for each task, and how many there are.
pub(super) struct Each {
    pub(super) input: Input,
    pub(super) count: u32,
}

/// One of `texts` for each task.
pub(super) fn of_texts(
    texts: &[String],
    blobs: &mut BTreeMap<Digest, Blob>,
) -> Result<Each, Error> {
    let mut encoder = ItemsEncoder::new();
    for text in texts {
        let item = if text.len() <= MAX_ITEM_INLINE {
            encoder.push_inline(text.as_bytes())
        } else {
            encoder.push(&memory_content(text.clone().into(), blobs))
        };
        item.map_err(|error| refused(&error))?;
    }
    encode(encoder, blobs)
}

/// One line of a file, or of standard input, for each task: without the end of the line.
pub(super) fn of_lines(
    source: &InputSource,
    blobs: &mut BTreeMap<Digest, Blob>,
) -> Result<Each, Error> {
    match source {
        InputSource::Stdin => {
            let failed =
                |cause| Error::new(Exit::Io, format!("cannot read standard input: {cause}"));
            read_lines(io::stdin().lock(), "standard input", &failed, blobs)
        }
        InputSource::File(path) => {
            let failed = |cause: io::Error| Error::file("read the lines of", path, &cause);
            let file = File::open(path).map_err(failed)?;
            if file.metadata().map_err(failed)?.is_dir() {
                return Err(super::load::not_a_file("read the lines of", path));
            }
            read_lines(BufReader::new(file), &named(path), &failed, blobs)
        }
    }
}

fn named(path: &Path) -> String {
    format!("`{}`", path.display())
}

fn read_lines(
    mut from: impl BufRead,
    name: &str,
    failed: &dyn Fn(io::Error) -> Error,
    blobs: &mut BTreeMap<Digest, Blob>,
) -> Result<Each, Error> {
    let mut encoder = ItemsEncoder::new();
    let mut spool = None;
    while let Some(line) = next_line(&mut from, name, failed, &mut spool)? {
        let added = match line {
            Line::Short(bytes) => encoder.push_inline(&bytes),
            Line::Long { digest, offset, size } => {
                let file = spool.as_ref().map(|spool| Arc::clone(&spool.file));
                if let Some(file) = file {
                    blobs.entry(digest).or_insert(Blob::Spooled { file, offset, size });
                }
                encoder.push(&Content::Blob { digest, size })
            }
        };
        added.map_err(|error| match error {
            ItemsError::TooMany => Error::new(
                Exit::InvalidInput,
                format!("{name} has more lines than a job has tasks at most"),
            )
            .todo("split it over several jobs"),
            error => refused(&error).placed(name),
        })?;
    }
    if encoder.count() == 0 {
        return Err(Error::new(Exit::InvalidInput, format!("{name} has no lines"))
            .todo("give at least one: each line is a task"));
    }
    encode(encoder, blobs)
}

enum Line {
    Short(Vec<u8>),
    /// In the spool file.
    Long {
        digest: Digest,
        offset: u64,
        size: u64,
    },
}

/// Where long lines are kept until they are sent.
struct Spool {
    file: Arc<File>,
    size: u64,
}

/// The next line; `None` at the end. A line ends with LF or CR LF, the last one maybe with
/// neither.
fn next_line(
    from: &mut impl BufRead,
    name: &str,
    failed: &dyn Fn(io::Error) -> Error,
    spool: &mut Option<Spool>,
) -> Result<Option<Line>, Error> {
    let mut start = Vec::new();
    // One byte more than fits tells a long line from one that just fits; two for CR LF.
    let most = MAX_ITEM_INLINE as u64 + 2;
    io::Read::take(&mut *from, most).read_until(b'\n', &mut start).map_err(failed)?;
    if start.is_empty() {
        return Ok(None);
    }
    if start.last() == Some(&b'\n') || (start.len() as u64) < most {
        let line = without_end(&start);
        if line.len() <= MAX_ITEM_INLINE {
            return Ok(Some(Line::Short(line.to_vec())));
        }
        return Ok(Some(LongLine::new(spool)?.end(line)?));
    }
    let mut long = LongLine::new(spool)?;
    let mut held = start;
    loop {
        // The last two bytes are held back: they may be the end of the line.
        let cut = held.len().saturating_sub(2);
        long.write(held.get(..cut).unwrap_or_default())?;
        held.drain(..cut);
        if long.size > MAX_BLOB {
            return Err(too_large(&format!("a line of {name}"), long.size));
        }
        let before = held.len();
        io::Read::take(&mut *from, most).read_until(b'\n', &mut held).map_err(failed)?;
        if held.len() == before || held.last() == Some(&b'\n') {
            return Ok(Some(long.end(without_end(&held))?));
        }
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => line,
    }
}

/// A line on its way to the spool file.
struct LongLine<'a> {
    spool: &'a mut Spool,
    hash: Context,
    size: u64,
}

impl<'a> LongLine<'a> {
    fn new(spool: &'a mut Option<Spool>) -> Result<Self, Error> {
        let spool = match spool {
            Some(spool) => spool,
            None => {
                let file = Arc::new(tempfile::tempfile().map_err(spool_failed)?);
                spool.insert(Spool { file, size: 0 })
            }
        };
        Ok(Self { spool, hash: Context::new(&SHA256), size: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hash.update(bytes);
        (&*self.spool.file).write_all(bytes).map_err(spool_failed)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn end(mut self, last: &[u8]) -> Result<Line, Error> {
        self.write(last)?;
        let offset = self.spool.size;
        self.spool.size += self.size;
        Ok(Line::Long { digest: finish(self.hash), offset, size: self.size })
    }
}

fn encode(encoder: ItemsEncoder, blobs: &mut BTreeMap<Digest, Blob>) -> Result<Each, Error> {
    let count = encoder.count();
    let file = encoder.finish().map_err(|error| refused(&error))?;
    Ok(Each { input: Input::Each(memory_content(file, blobs)), count })
}

fn refused(error: &ItemsError) -> Error {
    Error::new(Exit::InvalidInput, error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// What the tasks are given for a file of that text, read back.
    fn lines_of(text: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut blobs = BTreeMap::new();
        let failed = |cause: io::Error| Error::new(Exit::Io, cause);
        let each = read_lines(text, "`x`", &failed, &mut blobs);
        let each = each.map_err(|error| error.to_string())?;
        let file = match each.input {
            Input::Each(Content::Inline(bytes)) => bytes,
            Input::Each(Content::Blob { digest, .. }) => bytes_of(&blobs[&digest]).into(),
            other => panic!("{other:?}"),
        };
        Ok((0..each.count).map(|index| item(&file, index, &blobs)).collect())
    }

    fn item(file: &bytes::Bytes, index: u32, blobs: &BTreeMap<Digest, Blob>) -> Vec<u8> {
        use wrun_protocol::items::{ENTRY, Entry, Header};
        let header = Header::parse(file, file.len() as u64).unwrap();
        let at = header.entry(index) as usize;
        let entry = Entry::parse(index, &file[at..at + ENTRY]).unwrap();
        let from = (header.tail() + entry.offset) as usize;
        let part = file.slice(from..from + entry.length as usize);
        match entry.content(index, part).unwrap() {
            Content::Inline(bytes) => bytes.to_vec(),
            Content::Blob { digest, .. } => bytes_of(&blobs[&digest]),
        }
    }

    fn bytes_of(blob: &Blob) -> Vec<u8> {
        match blob {
            Blob::Memory(bytes) => bytes.to_vec(),
            Blob::Spooled { file, offset, size } => {
                let mut bytes = vec![0; *size as usize];
                file.read_exact_at(&mut bytes, *offset).unwrap();
                bytes
            }
            Blob::File { .. } => panic!("no file was named"),
        }
    }

    #[test]
    fn a_line_is_what_stands_between_the_ends_of_lines() {
        let lines = |text: &str| -> Vec<String> {
            let lines = lines_of(text.as_bytes()).unwrap();
            lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
        };
        assert_eq!(lines("a\nb"), ["a", "b"]);
        assert_eq!(lines("a\r\n\nb\n"), ["a", "", "b"]);
        assert_eq!(lines("\n"), [""]);
        assert_eq!(lines("a\rb\r"), ["a\rb\r"]);
        assert_eq!(lines_of(b"\xff\xfe\n").unwrap(), [b"\xff\xfe"]);
    }

    #[test]
    fn nothing_is_no_list_of_lines() {
        assert_eq!(
            lines_of(b"").unwrap_err(),
            "`x` has no lines; give at least one: each line is a task"
        );
    }

    /// Around the longest line that is kept inline, and around the pieces in which longer ones
    /// are read.
    #[test]
    fn long_lines_are_kept_whole_wherever_they_are_cut() {
        let most = MAX_ITEM_INLINE;
        for length in [most - 1, most, most + 1, most + 2, 2 * most, 2 * most + 2, 3 * most + 3] {
            for end in ["\n", "\r\n", ""] {
                let long: Vec<u8> = (0..length).map(|n| b'a' + (n % 23) as u8).collect();
                let mut text = b"first\n".to_vec();
                text.extend(&long);
                text.extend(end.as_bytes());
                let wanted = vec![b"first".to_vec(), long.clone()];
                assert_eq!(lines_of(&text).unwrap(), wanted, "{length} with {end:?} last");
                if !end.is_empty() {
                    text.extend(&long);
                    text.extend(b"\nlast");
                    let wanted = vec![b"first".to_vec(), long.clone(), long, b"last".to_vec()];
                    assert_eq!(lines_of(&text).unwrap(), wanted, "{length} with {end:?}");
                }
            }
        }
    }
}

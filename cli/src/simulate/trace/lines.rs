//! A text file line by line, plain or gzip, in bounded memory whatever the file holds.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// Longest line that is kept, in bytes; a longer one is reported and passed over.
const MAX_LINE: usize = 64 << 10;

/// A file with a longer line than this, in bytes, is no text.
const MAX_PASSED_OVER: usize = 16 << 20;

/// One line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// As it was written.
    Text(&'a str),
    /// It cannot be read, and why.
    Unreadable(&'static str),
}

/// Reads lines and counts them.
pub(crate) struct Lines<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
}

/// Lines of `input`, decompressed if it begins as gzip does.
pub(crate) fn lines<'a>(input: impl Read + 'a) -> io::Result<Lines<Box<dyn BufRead + 'a>>> {
    let mut input = BufReader::with_capacity(64 << 10, input);
    let is_gzip = input.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let input: Box<dyn BufRead + 'a> = if is_gzip {
        Box::new(BufReader::with_capacity(64 << 10, MultiGzDecoder::new(input)))
    } else {
        Box::new(input)
    };
    Ok(Lines { input, line: Vec::new(), number: 0 })
}

impl<R: BufRead> Lines<R> {
    /// The next line, or `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut length = 0;
        let ended = loop {
            let piece = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if piece.is_empty() {
                break length > 0;
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let taken = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
            let room = MAX_LINE.saturating_sub(self.line.len()).min(taken.len());
            self.line.extend_from_slice(taken.get(..room).unwrap_or_default());
            length += taken.len();
            let used = taken.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                break true;
            }
            if length > MAX_PASSED_OVER {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("line {} has over {} MiB", self.number + 1, MAX_PASSED_OVER >> 20),
                ));
            }
        };
        if !ended {
            return Ok(None);
        }
        self.number += 1;
        if length > MAX_LINE {
            return Ok(Some(Line::Unreadable("it is longer than 64 KiB")));
        }
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        // Some editors begin a file with a byte order mark.
        let line = if self.number == 1 { line.strip_prefix(b"\xef\xbb\xbf") } else { None }
            .unwrap_or(line);
        Ok(Some(std::str::from_utf8(line).map_or(Line::Unreadable("it is not UTF-8"), Line::Text)))
    }

    /// The number of the last line that was read, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn read(input: &[u8]) -> Vec<String> {
        let mut lines = lines(input).unwrap();
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(match line {
                Line::Text(text) => text.to_owned(),
                Line::Unreadable(why) => format!("! {why}"),
            });
        }
        assert_eq!(lines.number(), found.len() as u64);
        found
    }

    #[test]
    fn lines_may_end_in_any_way() {
        assert_eq!(read(b"a\nb\r\n\nc"), ["a", "b", "", "c"]);
        assert_eq!(read(b"a\n"), ["a"]);
        assert_eq!(read(b"\xef\xbb\xbfa\n"), ["a"]);
        assert_eq!(read(b""), [""; 0]);
    }

    #[test]
    fn compressed_lines_are_read_as_plain_ones() {
        let mut packed = Vec::new();
        for part in [&b"a\nb"[..], b"c\n"] {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(part).unwrap();
            packed.extend(gzip.finish().unwrap());
        }
        assert_eq!(read(&packed), ["a", "bc"], "two members, as `cat a.gz b.gz` makes them");
    }

    #[test]
    fn a_compressed_file_that_is_cut_is_an_error() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all("1 2 3\n".repeat(1000).as_bytes()).unwrap();
        let packed = gzip.finish().unwrap();
        let mut lines = lines(&packed[..packed.len() - 9]).unwrap();
        let error = loop {
            match lines.next() {
                Ok(Some(_)) => {}
                other => break other.map(|line| line.is_none()),
            }
        };
        assert!(error.is_err());
    }

    #[test]
    fn a_long_line_is_passed_over_and_an_endless_one_ends_it() {
        let long = [&vec![b'x'; MAX_LINE + 1][..], b"\nb"].concat();
        assert_eq!(read(&long), ["! it is longer than 64 KiB", "b"]);
        assert_eq!(read(b"\xff\nb"), ["! it is not UTF-8", "b"]);
        let error = lines(io::repeat(b'x')).unwrap().next().map(|line| line.is_some());
        assert!(error.unwrap_err().to_string().starts_with("line 1 has over 16 MiB"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, gzip: bool) {
            let bytes = if gzip { [&[0x1f, 0x8b][..], &bytes].concat() } else { bytes };
            if let Ok(mut lines) = lines(&bytes[..]) {
                while let Ok(Some(_)) = lines.next() {}
            }
        }
    }
}

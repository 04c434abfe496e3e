//! Where one request of HTTP/1 ends and the next begins, checked beside hyper. hyper reads
//! some of what RFC 9112 lets a server read but another might read otherwise: a length beside
//! a transfer coding, a length that is said twice, lines that end without a carriage return.
//! Where a proxy stands before this gateway, such differences smuggle requests past it
//! (RFC 9112, 11.2), and no honest client needs them; so they are refused.
//!
//! Looks at lines of heads and chunks only. Everything else is for hyper.

/// Longest line of which more than its end is looked at: no length or coding is longer.
const KEPT: usize = 64;

/// Longest line with the size of a chunk.
const LONGEST_SIZE: usize = 1024;

/// What comes next on a connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    next: Next,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The length of that line, and its last byte.
    length: usize,
    last: u8,
    head: Head,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    /// The first line of a head; empty ones may come before (RFC 9112, 2.2).
    #[default]
    First,
    Field,
    Body(u64),
    Size,
    Chunk(u64),
    AfterChunk,
    Trailer,
}

/// What a head said of the body.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    length: Option<u64>,
    is_chunked: bool,
}

type Read<T> = Result<T, &'static str>;

impl Framing {
    /// Takes in what was read.
    ///
    /// # Errors
    /// It can be understood in more than one way, or in none.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Read<()> {
        while !bytes.is_empty() {
            bytes = match self.next {
                Next::Body(left) => self.skip(bytes, left, Next::Body, Next::First),
                Next::Chunk(left) => self.skip(bytes, left, Next::Chunk, Next::AfterChunk),
                _ => self.read_line(bytes)?,
            };
        }
        Ok(())
    }

    fn skip<'a>(
        &mut self,
        bytes: &'a [u8],
        left: u64,
        within: fn(u64) -> Next,
        after: Next,
    ) -> &'a [u8] {
        let skipped = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - skipped as u64;
        self.next = if left == 0 { after } else { within(left) };
        bytes.get(skipped..).unwrap_or_default()
    }

    /// Reads up to the end of a line, and returns what is behind it.
    fn read_line<'a>(&mut self, bytes: &'a [u8]) -> Read<&'a [u8]> {
        let end = memchr::memchr(b'\n', bytes);
        let (part, rest) = match end {
            Some(end) => (bytes.get(..end).unwrap_or_default(), bytes.get(end + 1..)),
            None => (bytes, None),
        };
        if end.is_some() && self.length == 0 {
            let line = part.strip_suffix(b"\r").ok_or(NO_RETURN)?;
            self.on_line(line.get(..KEPT).unwrap_or(line), line.len())?;
            return Ok(rest.unwrap_or_default());
        }
        let room = KEPT.saturating_sub(self.line.len()).min(part.len());
        self.line.extend_from_slice(part.get(..room).unwrap_or_default());
        self.length += part.len();
        self.last = part.last().copied().unwrap_or(self.last);
        if self.next == Next::Size && self.length > LONGEST_SIZE {
            return Err("the size of a chunk is too long");
        }
        let Some(rest) = rest else { return Ok(&[]) };
        if self.last != b'\r' {
            return Err(NO_RETURN);
        }
        let length = self.length - 1;
        let mut line = std::mem::take(&mut self.line);
        line.truncate(length);
        self.on_line(&line, length)?;
        line.clear();
        (self.line, self.length, self.last) = (line, 0, 0);
        Ok(rest)
    }

    /// A whole line, without its end; of a long one its beginning.
    fn on_line(&mut self, line: &[u8], length: usize) -> Read<()> {
        self.next = match self.next {
            Next::First if length == 0 => Next::First,
            Next::First => {
                self.head = Head::default();
                Next::Field
            }
            Next::Field if length == 0 => self.head.body(),
            Next::Field => {
                self.head.on_field(line, length)?;
                Next::Field
            }
            Next::Size => match size(line, length)? {
                0 => Next::Trailer,
                size => Next::Chunk(size),
            },
            Next::AfterChunk if length == 0 => Next::Size,
            Next::AfterChunk => return Err("a chunk is longer than its size"),
            Next::Trailer if length == 0 => Next::First,
            Next::Trailer => match line.first() {
                Some(b' ' | b'\t') => return Err(FOLDED),
                _ => Next::Trailer,
            },
            Next::Body(_) | Next::Chunk(_) => self.next,
        };
        Ok(())
    }
}

const NO_RETURN: &str = "a line ends without a carriage return";
const FOLDED: &str = "a field goes on in the next line";

impl Head {
    fn on_field(&mut self, line: &[u8], length: usize) -> Read<()> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(FOLDED);
        }
        let Some(colon) = memchr::memchr(b':', line) else { return Ok(()) };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let is_long = length > line.len();
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() || self.is_chunked {
                return Err("it gives its length more than once");
            }
            self.length = Some(number(value, 10).filter(|_| !is_long).ok_or("its length is none")?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.length.is_some() || self.is_chunked {
                return Err("it gives its length more than once");
            }
            if is_long || !value.eq_ignore_ascii_case(b"chunked") {
                return Err("its transfer coding is not `chunked`");
            }
            self.is_chunked = true;
        }
        Ok(())
    }

    fn body(self) -> Next {
        match self.length {
            _ if self.is_chunked => Next::Size,
            None | Some(0) => Next::First,
            Some(length) => Next::Body(length),
        }
    }
}

/// The size of a chunk. What may stand behind it is not looked at (RFC 9112, 7.1.1).
fn size(line: &[u8], length: usize) -> Read<u64> {
    if length > LONGEST_SIZE {
        return Err("the size of a chunk is too long");
    }
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let digits = digits.trim_ascii_end();
    number(digits, 16).ok_or("the size of a chunk is none")
}

/// A number of digits alone, no sign; bounded so that it cannot overflow.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    if !(1..=15).contains(&digits.len()) {
        return None;
    }
    digits.iter().try_fold(0, |number: u64, digit| {
        let digit = char::from(*digit).to_digit(radix)?;
        number.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Read<Next> {
        let mut framing = Framing::default();
        framing.read(text.as_bytes()).map(|()| framing.next)
    }

    #[test]
    fn requests_follow_one_another_whatever_their_bodies() {
        let requests = [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nPOST / HTTP/1.1\r\ncontent-LENGTH:  3 \r\n\r\nab\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=y\r\n\n\n\r\nA \r\n0123456789\r\n0\r\nx: y\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        ];
        assert_eq!(read(&requests.concat()), Ok(Next::First));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let bad = [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1234567890123456\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        ];
        bad.iter().for_each(|text| assert!(read(text).is_err(), "{text:?}"));
    }

    #[test]
    fn a_body_that_looks_like_a_head_is_none() {
        let inner = "Content-Length: 1\nContent-Length: 2\n";
        let text = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{inner}", inner.len());
        assert_eq!(read(&text), Ok(Next::First));
    }

    proptest! {
        #[test]
        fn how_it_is_cut_does_not_matter(
            parts in proptest::collection::vec(prop_oneof![
                Just("GET / HTTP/1.1\r\n".to_owned()),
                Just("\r\n".to_owned()),
                Just("\n".to_owned()),
                Just("Content-Length: 5\r\n".to_owned()),
                Just("Transfer-Encoding: chunked\r\n".to_owned()),
                Just("5\r\nhello\r\n".to_owned()),
                Just("0\r\n\r\n".to_owned()),
                "[a-z]{1,100}: [a-z \r]{0,100}\r\n",
            ], 0..12),
            cuts in proptest::collection::vec(1..20_usize, 1..20),
        ) {
            let text = parts.concat();
            let whole = read(&text);
            let mut framing = Framing::default();
            let mut rest = text.as_bytes();
            let mut cut = cuts.iter().cycle();
            let mut outcome = Ok(());
            while !rest.is_empty() && outcome.is_ok() {
                let (part, behind) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                outcome = framing.read(part);
                rest = behind;
            }
            prop_assert_eq!(outcome.map(|()| framing.next), whole);
        }
    }
}

//! Fields of a protobuf message, one after the other, without a copy. It knows nothing of
//! what they mean.

/// A message, or what is left of it.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    rest: &'a [u8],
    /// Where in the file that begins.
    at: usize,
}

/// The content of a field.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Varint(u64),
    /// A string, bytes, packed numbers or a message.
    Block(Message<'a>),
    /// Four or eight bytes.
    Fixed,
}

/// The bytes are no protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {problem}")]
pub(super) struct WireError {
    at: usize,
    problem: &'static str,
}

impl<'a> Message<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.rest
    }

    /// As text; what is not UTF-8 is replaced, since it is only shown and compared.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(self.rest).into_owned()
    }

    /// The next field's number and content; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let at = self.at;
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.fixed(8)?,
            2 => Value::Block(self.block()?),
            5 => self.fixed(4)?,
            _ => return Err(WireError { at, problem: "there is no such kind of field" }),
        };
        Ok(Some((key >> 3, value)))
    }

    pub(super) fn varint(&mut self) -> Result<u64, WireError> {
        let at = self.at;
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self
                .rest
                .split_first()
                .ok_or(WireError { at, problem: "the file ends within a number" })?;
            self.rest = rest;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError { at, problem: "a number has more than 64 bits" })
    }

    fn block(&mut self) -> Result<Message<'a>, WireError> {
        let at = self.at;
        let length = self.varint()?;
        let cut =
            usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (block, rest) = cut.ok_or(WireError { at, problem: "the file ends within a field" })?;
        let message = Self { rest: block, at: self.at };
        self.rest = rest;
        self.at += block.len();
        Ok(message)
    }

    fn fixed(&mut self, length: usize) -> Result<Value<'a>, WireError> {
        let end = WireError { at: self.at, problem: "the file ends within a number" };
        self.rest = self.rest.get(length..).ok_or(end)?;
        self.at += length;
        Ok(Value::Fixed)
    }
}

/// How many numbers a packed field holds: bytes that end one.
pub(super) fn packed_varints(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte & 0x80 == 0).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(bytes: &[u8]) -> Result<Vec<u64>, WireError> {
        let mut message = Message::new(bytes);
        let mut numbers = Vec::new();
        while let Some((number, _)) = message.next()? {
            numbers.push(number);
        }
        Ok(numbers)
    }

    #[test]
    fn fields_come_one_after_the_other() {
        let bytes =
            [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(numbers(&bytes).unwrap(), [1, 2, 3, 4]);
        let mut message = Message::new(&bytes);
        assert!(matches!(message.next(), Ok(Some((1, Value::Varint(150))))));
        assert!(
            matches!(message.next(), Ok(Some((2, Value::Block(block)))) if block.text() == "hi")
        );
    }

    #[test]
    fn what_breaks_off_says_where() {
        for (bytes, at) in [(&[0x08][..], 1), (&[0x12, 5, 1], 1), (&[0x1d, 0], 1), (&[0x0b], 0)] {
            assert_eq!(numbers(bytes).unwrap_err().at, at, "{bytes:?}");
        }
        let endless = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(numbers(&endless).unwrap_err().problem, "a number has more than 64 bits");
        let huge = [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(numbers(&huge).unwrap_err().at, 1);
    }
}

//! Bytes from and to values: JSON, but for bytes and text, which pass as they are.

use std::any::Any;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// A task's input as a value.
///
/// # Errors
/// Bytes that are not what the type wants, with line and column.
pub fn decode<T: DeserializeOwned + 'static>(bytes: Vec<u8>) -> Result<T, Error> {
    from_bytes(bytes, "the input")
}

/// A task's output as bytes.
///
/// # Errors
/// A value that JSON cannot hold, such as a map whose keys are not text.
pub fn encode<T: Serialize + 'static>(value: T) -> Result<Vec<u8>, Error> {
    to_bytes(value, "the output")
}

pub(crate) fn from_bytes<T>(bytes: Vec<u8>, what: &str) -> Result<T, Error>
where
    T: DeserializeOwned + 'static,
{
    let mut slot: Option<T> = None;
    let any: &mut dyn Any = &mut slot;
    if let Some(raw) = any.downcast_mut::<Option<Vec<u8>>>() {
        *raw = Some(bytes);
    } else if let Some(text) = any.downcast_mut::<Option<String>>() {
        let decoded = String::from_utf8(bytes)
            .map_err(|error| Error::new(format!("{what} is not text: {error}")))?;
        *text = Some(decoded);
    } else {
        slot = Some(from_json(&bytes, what)?);
    }
    slot.ok_or_else(|| Error::new(format!("{what} could not be read")))
}

fn from_json<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Error> {
    if bytes.trim_ascii().is_empty() {
        return serde_json::from_slice(b"null")
            .map_err(|_| Error::new(format!("{what} is empty, and the task needs one")));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Error::new(format!("{what} is not the JSON that the task takes: {error}")))
}

pub(crate) fn to_bytes<T: Serialize + 'static>(value: T, what: &str) -> Result<Vec<u8>, Error> {
    let mut slot = Some(value);
    let any: &mut dyn Any = &mut slot;
    if let Some(raw) = any.downcast_mut::<Option<Vec<u8>>>() {
        return Ok(raw.take().unwrap_or_default());
    }
    if let Some(text) = any.downcast_mut::<Option<String>>() {
        return Ok(text.take().unwrap_or_default().into_bytes());
    }
    if any.is::<Option<()>>() {
        return Ok(Vec::new());
    }
    serde_json::to_vec(&slot)
        .map_err(|error| Error::new(format!("{what} cannot be written as JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_text_pass_as_they_are() {
        assert_eq!(decode::<Vec<u8>>(vec![0, 255]).unwrap(), [0, 255]);
        assert_eq!(decode::<String>(b"a \"b\"".to_vec()).unwrap(), "a \"b\"");
        assert_eq!(encode(vec![0_u8, 255]).unwrap(), [0, 255]);
        assert_eq!(encode("a \"b\"".to_owned()).unwrap(), b"a \"b\"");
        let error = decode::<String>(vec![255]).unwrap_err();
        assert!(error.message().starts_with("the input is not text"), "{error}");
    }

    #[test]
    fn everything_else_is_json() {
        assert_eq!(decode::<Vec<u32>>(b" [1, 2]\n".to_vec()).unwrap(), [1, 2]);
        assert_eq!(encode(vec![1_u32, 2]).unwrap(), b"[1,2]");
        assert_eq!(encode(Some(1_u32)).unwrap(), b"1");
        let error = decode::<Vec<u32>>(b"[1, x]".to_vec()).unwrap_err();
        assert!(error.message().contains("line 1 column 5"), "{error}");
    }

    #[test]
    fn nothing_is_no_bytes() {
        assert_eq!(encode(()).unwrap(), b"");
        decode::<()>(Vec::new()).unwrap();
        assert_eq!(decode::<Option<u32>>(Vec::new()).unwrap(), None);
        let error = decode::<u32>(Vec::new()).unwrap_err();
        assert_eq!(error.message(), "the input is empty, and the task needs one");
    }
}

//! How messages become bytes and frames, and back.
//!
//! A message is one postcard value. On a stream it is preceded by its length as four
//! bytes, little-endian. Messages are enums that only ever grow at their end: postcard
//! numbers variants by position, so an older peer meets an unknown number and refuses
//! it by name instead of misreading it. Decoding never panics and never allocates more
//! than the frame's own size.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::MAX_FRAME;

/// Bytes of a frame's header.
pub const HEADER: usize = 4;

/// Why bytes are not a message or a message not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The message, or the length that a peer announced, is over [`MAX_FRAME`].
    #[error("a frame of {size} bytes; at most {MAX_FRAME} are allowed")]
    TooLarge {
        /// Announced or encoded size in bytes.
        size: usize,
    },
    /// The bytes are no message of the expected type.
    #[error("a message of {size} bytes cannot be read: {reason}")]
    Garbled {
        /// Size of the payload in bytes.
        size: usize,
        /// What the decoder met.
        reason: String,
    },
}

/// Appends `message` as one frame to `buffer`, which is left as it was on error.
pub fn append_frame<M: Serialize>(buffer: &mut Vec<u8>, message: &M) -> Result<(), CodecError> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER]);
    if let Err(error) = postcard::serialize_with_flavor(message, Append(buffer)) {
        buffer.truncate(start);
        return Err(CodecError::Garbled { size: 0, reason: error.to_string() });
    }
    let size = buffer.len() - start - HEADER;
    if size > MAX_FRAME {
        buffer.truncate(start);
        return Err(CodecError::TooLarge { size });
    }
    if let Some(header) = buffer.get_mut(start..start + HEADER) {
        header.copy_from_slice(&(size as u32).to_le_bytes());
    }
    Ok(())
}

/// Lets postcard write to the end of a buffer that outlives the encoding.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// The payload length that a frame's header announces.
pub fn frame_size(header: [u8; HEADER]) -> Result<usize, CodecError> {
    let size = u32::from_le_bytes(header) as usize;
    if size > MAX_FRAME { Err(CodecError::TooLarge { size }) } else { Ok(size) }
}

/// Reads one message from exactly `payload`.
pub fn decode<M: DeserializeOwned>(payload: &[u8]) -> Result<M, CodecError> {
    let garbled = |reason: String| CodecError::Garbled { size: payload.len(), reason };
    let (message, rest) =
        postcard::take_from_bytes(payload).map_err(|error| garbled(error.to_string()))?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(garbled(format!("{} bytes are left over", rest.len())))
    }
}

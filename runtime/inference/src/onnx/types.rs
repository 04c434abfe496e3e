//! ONNX's types of elements, and how files of other encodings begin.

use crate::config::Encoding;
use crate::tensor::ElementType;

/// A type of elements, by its number in `TensorProto.DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Onnx(pub(crate) u64);

impl Onnx {
    /// Bytes of an element; `None` where the type is unknown, has no fixed size or is packed.
    pub(crate) fn size(self) -> Option<u64> {
        match self.0 {
            2 | 3 | 9 => Some(1),
            4 | 5 | 10 | 16 => Some(2),
            1 | 6 | 12 => Some(4),
            7 | 11 | 13 => Some(8),
            _ => None,
        }
    }

    /// As guests have it; booleans are bytes there.
    pub(crate) fn element(self) -> Option<ElementType> {
        Some(match self.0 {
            1 => ElementType::Fp32,
            2 | 9 => ElementType::U8,
            6 => ElementType::I32,
            7 => ElementType::I64,
            10 => ElementType::Fp16,
            11 => ElementType::Fp64,
            16 => ElementType::Bf16,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> String {
        const NAMES: [&str; 24] = [
            "undefined",
            "float",
            "uint8",
            "int8",
            "uint16",
            "int16",
            "int32",
            "int64",
            "string",
            "bool",
            "float16",
            "double",
            "uint32",
            "uint64",
            "complex64",
            "complex128",
            "bfloat16",
            "float8e4m3fn",
            "float8e4m3fnuz",
            "float8e5m2",
            "float8e5m2fnuz",
            "uint4",
            "int4",
            "float4e2m1",
        ];
        let name = usize::try_from(self.0).ok().and_then(|number| NAMES.get(number));
        name.map_or_else(|| format!("unknown type {}", self.0), |name| (*name).to_owned())
    }
}

/// The encoding, where the first bytes give it away; ONNX files have no such mark.
pub(crate) fn detect(bytes: &[u8]) -> Option<Encoding> {
    let text = bytes.trim_ascii_start();
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02\x8a\x0a") {
        Some(Encoding::PyTorch)
    } else if bytes.starts_with(b"GGUF") || bytes.starts_with(b"lmgg") {
        Some(Encoding::Ggml)
    } else if bytes.get(4..8) == Some(b"TFL3") {
        Some(Encoding::TensorFlowLite)
    } else if bytes.starts_with(b"\x89HDF\r\n") {
        Some(Encoding::TensorFlow)
    } else if text.starts_with(b"<?xml") || text.starts_with(b"<net ") {
        Some(Encoding::OpenVino)
    } else {
        None
    }
}

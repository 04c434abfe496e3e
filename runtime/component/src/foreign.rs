//! Says what a file is that is not WebAssembly.

use crate::ComponentError;

/// Beginnings of files that people give by mistake.
const KNOWN: [(&[u8], &str); 8] = [
    (b"\x7fELF", "a native program; build it for wasm32-wasip2"),
    (b"MZ", "a Windows program; build it for wasm32-wasip2"),
    (b"\xcf\xfa\xed\xfe", "a macOS program; build it for wasm32-wasip2"),
    (b"#!", "a script"),
    (b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (b"PK\x03\x04", "a zip archive; unpack it first"),
    (b"!<arch>", "a static library"),
    (b"BC\xc0\xde", "LLVM bitcode"),
];

/// The refusal of `bytes`, which do not begin with `magic`.
pub(crate) fn refusal(bytes: &[u8], magic: &[u8]) -> ComponentError {
    if bytes.is_empty() {
        ComponentError::Empty
    } else if magic.starts_with(bytes) {
        ComponentError::Truncated { size: bytes.len() as u64 }
    } else if is_text_format(bytes) {
        ComponentError::Text
    } else {
        ComponentError::NotWasm { begins: describe(bytes) }
    }
}

fn describe(bytes: &[u8]) -> String {
    let begins: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let begins = begins.join(" ");
    match KNOWN.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        Some((_, what)) => format!("{begins} ({what})"),
        None => begins,
    }
}

/// Whether the first thing that is neither space nor comment opens a module or component.
fn is_text_format(bytes: &[u8]) -> bool {
    let mut rest = bytes.trim_ascii_start();
    loop {
        let after = if rest.starts_with(b";;") {
            rest.iter().position(|byte| *byte == b'\n').and_then(|end| rest.get(end..))
        } else if rest.starts_with(b"(;") {
            rest.windows(2).position(|pair| pair == b";)").and_then(|end| rest.get(end + 2..))
        } else {
            break;
        };
        match after {
            Some(after) => rest = after.trim_ascii_start(),
            None => return false,
        }
    }
    let Some(first) = rest.strip_prefix(b"(") else { return false };
    let first = first.trim_ascii_start();
    first.starts_with(b"module") || first.starts_with(b"component")
}

//! What the runner reads of ONNX's files: the names of a model's inputs and outputs, and tensors.

use std::path::Path;

/// The reader that the engine has itself.
#[allow(dead_code, reason = "a part of it is used here")]
#[path = "../../runtime/inference/src/onnx/wire.rs"]
mod wire;

use wire::{Message, Value};

/// What a model takes and gives, by name, and its first operator.
#[derive(Debug, Default)]
pub struct Signature {
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub operator: String,
}

/// A tensor as the file has it.
#[derive(Clone, Debug, Default)]
pub struct Tensor {
    /// By its number in `TensorProto.DataType`.
    pub element: u64,
    pub shape: Vec<u32>,
    /// Little-endian, row by row.
    pub data: Vec<u8>,
}

/// Bytes of an element, of types that can be given to a guest.
const SIZES: [(u64, usize); 8] =
    [(1, 4), (2, 1), (6, 4), (7, 8), (9, 1), (10, 2), (11, 8), (16, 2)];

impl Tensor {
    /// What `wasi:nn` calls its type; booleans are bytes there. `None`: it has no such type.
    pub fn wasi_type(&self) -> Option<&'static str> {
        Some(match self.element {
            1 => "fp32",
            2 | 9 => "u8",
            6 => "i32",
            7 => "i64",
            10 => "fp16",
            11 => "fp64",
            16 => "bf16",
            _ => return None,
        })
    }

    /// `None`: what is in the file is no tensor, or one whose elements no guest can have.
    pub fn read(path: &Path) -> Option<Self> {
        let bytes = std::fs::read(path).unwrap();
        let mut message = Message::new(&bytes);
        let mut tensor = Self::default();
        let mut numbers = Vec::new();
        let mut raw = None;
        while let Some((field, value)) = message.next().ok()? {
            match (field, value) {
                (1, value) => {
                    let sizes = varints(value)?.into_iter().map(u32::try_from);
                    tensor.shape.extend(sizes.collect::<Result<Vec<_>, _>>().ok()?);
                }
                (2, Value::Varint(element)) => tensor.element = element,
                // Floats and doubles are packed as they are.
                (4 | 9 | 10, Value::Block(block)) => raw = Some(block.bytes().to_vec()),
                (5 | 7, value) => numbers.extend(varints(value)?),
                _ => {}
            }
        }
        let (_, size) = SIZES.iter().find(|(element, _)| *element == tensor.element)?;
        let typed = || numbers.iter().flat_map(|number| number.to_le_bytes()[..*size].to_vec());
        tensor.data = raw.unwrap_or_else(|| typed().collect());
        let mut sizes = tensor.shape.iter().map(|size| *size as usize);
        let bytes = sizes.try_fold(*size, usize::checked_mul);
        (bytes == Some(tensor.data.len())).then_some(tensor)
    }
}

impl Signature {
    /// Of a model's file.
    pub fn read(model: &[u8]) -> Self {
        let mut signature = Self::default();
        for (field, graph) in blocks(Message::new(model)) {
            if field != 7 {
                continue;
            }
            for (field, block) in blocks(graph) {
                match field {
                    1 if signature.operator.is_empty() => signature.operator = text(block, 4),
                    11 => signature.inputs.push(text(block, 1)),
                    12 => signature.outputs.push(text(block, 1)),
                    _ => {}
                }
            }
        }
        signature
    }
}

fn blocks(mut message: Message<'_>) -> Vec<(u64, Message<'_>)> {
    let mut blocks = Vec::new();
    while let Some((field, value)) = message.next().unwrap() {
        if let Value::Block(block) = value {
            blocks.push((field, block));
        }
    }
    blocks
}

fn text(message: Message<'_>, wanted: u64) -> String {
    let found = blocks(message).into_iter().find(|(field, _)| *field == wanted);
    found.map(|(_, block)| block.text()).unwrap_or_default()
}

/// One number, or several that are packed.
fn varints(value: Value<'_>) -> Option<Vec<u64>> {
    match value {
        Value::Varint(number) => Some(vec![number]),
        Value::Block(mut block) => {
            let mut numbers = Vec::new();
            while !block.bytes().is_empty() {
                numbers.push(block.varint().ok()?);
            }
            Some(numbers)
        }
        Value::Fixed => None,
    }
}

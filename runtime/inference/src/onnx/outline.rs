//! The bounded walk over a model: its signature, its operators, and that each of its tensors
//! is as large as it says. A file of a few bytes may declare tensors of any size, nest graphs
//! without end, or unfold into millions of parts; back ends would try.

use std::collections::{HashMap, HashSet};

use super::types::Onnx;
use super::wire::{Message, Value, WireError, packed_varints};
use crate::config::Limits;
use crate::error::LoadError;
use crate::signature::Dimension;
use crate::tensor::MAX_DIMENSIONS;

/// Graphs within graphs (branches and loops). Real models have three or four.
const MAX_DEPTH: usize = 12;

/// Parts of the file for each node that the limits allow: fields of nodes, attributes,
/// declarations and the like. Real models have ten to twenty.
const PARTS_OF_NODE: usize = 40;

/// Longest name of a dimension. It may be an expression, which back ends parse recursively.
const MAX_SYMBOL: usize = 128;

/// What a model says of itself.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    /// Inputs that must be given.
    pub(crate) inputs: Vec<Declared>,
    pub(crate) outputs: Vec<Declared>,
    /// Each operator once, with the first node that uses it.
    pub(crate) operators: Vec<Operator>,
    /// Bytes of all tensors in it.
    pub(crate) weights: u64,
}

/// An input or output as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) element: Onnx,
    pub(crate) dimensions: Option<Vec<Dimension>>,
}

/// An operator in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    pub(crate) domain: String,
    pub(crate) name: String,
    pub(crate) node: String,
}

impl Declared {
    /// Whether it can have various sizes.
    pub(crate) fn is_open(&self) -> bool {
        let fixed = |dimension: &Dimension| matches!(dimension, Dimension::Fixed(_));
        !self.dimensions.as_ref().is_some_and(|dimensions| dimensions.iter().all(fixed))
    }
}

/// Walks over the model and refuses what no back end shall see.
pub(crate) fn outline(bytes: &[u8], limits: &Limits) -> Result<Outline, LoadError> {
    if bytes.is_empty() {
        return Err(LoadError::NotAModel { problem: "it is empty".to_owned() });
    }
    let mut walk =
        Walk { limits, nodes: 0, parts: 0, seen: HashSet::new(), outline: Outline::default() };
    walk.model(Message::new(bytes))?;
    Ok(walk.outline)
}

struct Walk<'a> {
    limits: &'a Limits,
    nodes: usize,
    parts: usize,
    /// Domains and names of operators.
    seen: HashSet<(&'a [u8], &'a [u8])>,
    outline: Outline,
}

/// The parts of a tensor that matter for its size.
#[derive(Default)]
struct Tensor {
    name: String,
    dimensions: Vec<u64>,
    element: u64,
    raw: Option<u64>,
    /// Elements in the fields for typed data.
    typed: u64,
    external: bool,
}

impl From<WireError> for LoadError {
    fn from(error: WireError) -> Self {
        Self::NotAModel { problem: error.to_string() }
    }
}

impl<'a> Walk<'a> {
    fn model(&mut self, mut message: Message<'a>) -> Result<(), LoadError> {
        let mut graph = None;
        let mut versioned = false;
        while let Some((number, value)) = message.next()? {
            match (number, value) {
                (7, Value::Block(block)) => graph = Some(block),
                (8, Value::Block(_)) => versioned = true,
                (20, _) => return Err(unsupported("training", "the model's training_info")),
                // Local functions: their nodes count, and calls of them are foreign operators.
                (25, Value::Block(block)) => self.function(block)?,
                _ => {}
            }
            self.part()?;
        }
        let problem = |problem: &str| LoadError::NotAModel { problem: problem.to_owned() };
        let graph = graph.ok_or_else(|| problem("it has no graph"))?;
        if !versioned {
            return Err(problem("it does not say which operator set it uses"));
        }
        self.graph(graph, 0)
    }

    fn function(&mut self, mut message: Message<'a>) -> Result<(), LoadError> {
        while let Some((number, value)) = message.next()? {
            self.part()?;
            if let (7, Value::Block(block)) = (number, value) {
                self.node(block, 1)?;
            }
        }
        Ok(())
    }

    fn graph(&mut self, mut message: Message<'a>, depth: usize) -> Result<(), LoadError> {
        if depth > MAX_DEPTH {
            let what = "the depth of graphs within graphs".to_owned();
            return Err(LoadError::TooLarge { what, size: depth as u64, limit: MAX_DEPTH as u64 });
        }
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        let mut initialised = HashSet::new();
        while let Some((number, value)) = message.next()? {
            self.part()?;
            let Value::Block(block) = value else { continue };
            match number {
                1 => self.node(block, depth)?,
                5 => drop(initialised.insert(self.tensor(block, "initializer")?)),
                11 => inputs.extend(self.declaration(block, depth == 0)?),
                12 => outputs.extend(self.declaration(block, depth == 0)?),
                13 => drop(self.declaration(block, false)?),
                15 => return Err(unsupported("sparse initializers", "the model's graph")),
                _ => {}
            }
        }
        if depth == 0 {
            // Old files list initializers among the inputs too; those need not be given.
            inputs.retain(|input| !initialised.contains(&input.name));
            unique("input", &inputs)?;
            unique("output", &outputs)?;
            if outputs.is_empty() {
                return Err(malformed("the graph", "it has no outputs"));
            }
            self.outline.inputs = inputs;
            self.outline.outputs = outputs;
        }
        Ok(())
    }

    fn node(&mut self, mut message: Message<'a>, depth: usize) -> Result<(), LoadError> {
        self.nodes += 1;
        let limit = self.limits.nodes;
        if self.nodes > limit {
            let what = "the number of nodes in the model".to_owned();
            return Err(LoadError::TooLarge { what, size: self.nodes as u64, limit: limit as u64 });
        }
        let empty: &[u8] = &[];
        let (mut name, mut operator, mut domain, mut output) = (empty, empty, empty, empty);
        while let Some((number, value)) = message.next()? {
            self.part()?;
            let Value::Block(block) = value else { continue };
            match number {
                2 if output.is_empty() => output = block.bytes(),
                3 => name = block.bytes(),
                4 => operator = block.bytes(),
                5 => self.attribute(block, depth)?,
                7 => domain = block.bytes(),
                _ => {}
            }
        }
        if domain == b"ai.onnx" {
            domain = empty;
        }
        if self.seen.insert((domain, operator)) {
            let text = |bytes: &[u8]| shortened(&String::from_utf8_lossy(bytes));
            self.outline.operators.push(Operator {
                domain: text(domain),
                name: text(operator),
                node: text(if name.is_empty() { output } else { name }),
            });
        }
        Ok(())
    }

    fn attribute(&mut self, mut message: Message<'a>, depth: usize) -> Result<(), LoadError> {
        while let Some((number, value)) = message.next()? {
            self.part()?;
            let Value::Block(block) = value else { continue };
            match number {
                5 | 10 => drop(self.tensor(block, "constant")?),
                6 | 11 => self.graph(block, depth + 1)?,
                22 | 23 => return Err(unsupported("sparse tensors", "an attribute of a node")),
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks a tensor in the file and gives its name.
    fn tensor(&mut self, message: Message<'a>, kind: &str) -> Result<String, LoadError> {
        let tensor = self.read_tensor(message)?;
        let place = format!("{kind} `{}`", shortened(&tensor.name));
        if tensor.external {
            return Err(LoadError::Unsupported {
                feature: "data in another file",
                place,
                remedy: "save the model with its data in one file",
            });
        }
        // Strings have no size; their number is bounded by the parts of the file.
        const STRING: u64 = 8;
        let element = Onnx(tensor.element);
        let size = match element.size() {
            Some(size) => size,
            None if tensor.element == STRING => 1,
            None => {
                let who = "no back end of this node";
                return Err(LoadError::UnsupportedType { place, element: element.name(), who });
            }
        };
        let (elements, bytes) = self.size(&place, &tensor.dimensions, size)?;
        let has = match tensor.raw {
            Some(raw) => raw / size,
            None => tensor.typed,
        };
        if has != elements || tensor.raw.is_some_and(|raw| raw != bytes) {
            let dimensions = &tensor.dimensions;
            let problem = format!("it says {dimensions:?}, {elements} elements, and has {has}");
            return Err(malformed(&place, &problem));
        }
        self.outline.weights = self.outline.weights.saturating_add(bytes);
        Ok(tensor.name)
    }

    fn read_tensor(&mut self, mut message: Message<'a>) -> Result<Tensor, LoadError> {
        let mut tensor = Tensor::default();
        while let Some((number, value)) = message.next()? {
            match (number, value) {
                (1, Value::Varint(size)) => tensor.dimensions.push(size),
                (1, Value::Block(mut packed)) => {
                    while !packed.bytes().is_empty() && tensor.dimensions.len() <= MAX_DIMENSIONS {
                        tensor.dimensions.push(packed.varint()?);
                    }
                }
                (2, Value::Varint(element)) => tensor.element = element,
                (4, Value::Block(packed)) => tensor.typed += packed.bytes().len() as u64 / 4,
                (10, Value::Block(packed)) => tensor.typed += packed.bytes().len() as u64 / 8,
                (5 | 7 | 11, Value::Block(packed)) => {
                    tensor.typed += packed_varints(packed.bytes());
                }
                (4 | 10, Value::Fixed) | (5 | 7 | 11, Value::Varint(_)) => tensor.typed += 1,
                (6, Value::Block(_)) => {
                    self.part()?;
                    tensor.typed += 1;
                }
                (8, Value::Block(name)) => tensor.name = name.text(),
                (9, Value::Block(raw)) if !raw.bytes().is_empty() => {
                    tensor.raw = Some(raw.bytes().len() as u64);
                }
                (13, _) => tensor.external = true,
                (14, Value::Varint(location)) => tensor.external |= location != 0,
                _ => {}
            }
            if tensor.dimensions.len() > MAX_DIMENSIONS {
                let problem = format!("it has more than {MAX_DIMENSIONS} dimensions");
                return Err(malformed(&shortened(&tensor.name), &problem));
            }
        }
        Ok(tensor)
    }

    /// An input, an output or a hint; `None` for one without a tensor type.
    fn declaration(
        &mut self,
        mut message: Message<'a>,
        ours: bool,
    ) -> Result<Option<Declared>, LoadError> {
        let (mut name, mut typed) = (String::new(), None);
        while let Some((number, value)) = message.next()? {
            match (number, value) {
                (1, Value::Block(block)) => name = block.text(),
                (2, Value::Block(block)) => typed = Some(block),
                _ => {}
            }
        }
        let place = format!("input or output `{}`", shortened(&name));
        let Some(mut typed) = typed else {
            return if ours { Err(malformed(&place, "it has no type")) } else { Ok(None) };
        };
        let mut tensor = None;
        while let Some((number, value)) = typed.next()? {
            if let (1, Value::Block(block)) = (number, value) {
                tensor = Some(block);
            }
        }
        let Some(mut tensor) = tensor else {
            let feature = "sequences, maps or optional values as inputs or outputs";
            return if ours { Err(unsupported(feature, &place)) } else { Ok(None) };
        };
        let (mut element, mut dimensions) = (Onnx(0), None);
        while let Some((number, value)) = tensor.next()? {
            match (number, value) {
                (1, Value::Varint(number)) => element = Onnx(number),
                (2, Value::Block(block)) => dimensions = Some(self.shape(&place, block)?),
                _ => {}
            }
        }
        let fixed = dimensions.iter().flatten().map(|dimension| match dimension {
            Dimension::Fixed(size) => u64::from(*size),
            Dimension::Symbol(_) | Dimension::Any => 1,
        });
        self.size(&place, &fixed.collect::<Vec<_>>(), element.size().unwrap_or(1))?;
        Ok(Some(Declared { name, element, dimensions }))
    }

    fn shape(&mut self, place: &str, mut shape: Message<'a>) -> Result<Vec<Dimension>, LoadError> {
        let mut dimensions = Vec::new();
        while let Some((number, value)) = shape.next()? {
            self.part()?;
            let (1, Value::Block(mut block)) = (number, value) else { continue };
            let mut dimension = Dimension::Any;
            while let Some((number, value)) = block.next()? {
                match (number, value) {
                    // Exporters write -1, and some 0, for what may be anything.
                    (1, Value::Varint(size)) if size == 0 || size > i64::MAX as u64 => {}
                    (1, Value::Varint(size)) => {
                        dimension = Dimension::Fixed(u32::try_from(size).map_err(|_| {
                            let what = format!("a dimension of {place}");
                            LoadError::TooLarge { what, size, limit: u32::MAX.into() }
                        })?);
                    }
                    (2, Value::Block(symbol)) if symbol.bytes().len() > MAX_SYMBOL => {
                        let what = format!("the name of a dimension of {place}, in bytes,");
                        let size = symbol.bytes().len() as u64;
                        return Err(LoadError::TooLarge { what, size, limit: MAX_SYMBOL as u64 });
                    }
                    (2, Value::Block(symbol)) if !matches!(symbol.bytes(), b"" | b"?") => {
                        dimension = Dimension::Symbol(symbol.text());
                    }
                    _ => {}
                }
            }
            dimensions.push(dimension);
            if dimensions.len() > MAX_DIMENSIONS {
                let problem = format!("it has more than {MAX_DIMENSIONS} dimensions");
                return Err(malformed(place, &problem));
            }
        }
        Ok(dimensions)
    }

    /// Elements and bytes of a tensor, within the limit.
    fn size(&self, place: &str, dimensions: &[u64], size: u64) -> Result<(u64, u64), LoadError> {
        if let Some(negative) = dimensions.iter().find(|size| **size > i64::MAX as u64) {
            let problem = format!("it has a dimension of {}", negative.cast_signed());
            return Err(malformed(place, &problem));
        }
        let limit = self.limits.tensor_bytes;
        let too_large =
            |size| LoadError::TooLarge { what: format!("{place}, in bytes,"), size, limit };
        // A zero makes the tensor empty, but not the product of the others harmless.
        let others = dimensions.iter().filter(|size| **size != 0);
        let product = others.copied().try_fold(1_u64, u64::checked_mul);
        let bytes = product.and_then(|elements| elements.checked_mul(size));
        let (Some(elements), Some(bytes)) = (product, bytes) else {
            return Err(too_large(u64::MAX));
        };
        if bytes > limit {
            return Err(too_large(bytes));
        }
        Ok(if dimensions.contains(&0) { (0, 0) } else { (elements, bytes) })
    }

    fn part(&mut self) -> Result<(), LoadError> {
        self.parts += 1;
        let limit = self.limits.nodes.saturating_mul(PARTS_OF_NODE);
        if self.parts > limit {
            let what = "the number of parts of the model".to_owned();
            return Err(LoadError::TooLarge { what, size: self.parts as u64, limit: limit as u64 });
        }
        Ok(())
    }
}

fn unique(kind: &str, declared: &[Declared]) -> Result<(), LoadError> {
    let mut names = HashMap::new();
    for (index, Declared { name, .. }) in declared.iter().enumerate() {
        if names.insert(name, index).is_some() {
            return Err(malformed(&format!("{kind} `{}`", shortened(name)), "it is there twice"));
        }
    }
    Ok(())
}

fn malformed(place: &str, problem: &str) -> LoadError {
    LoadError::Malformed { place: place.to_owned(), problem: problem.to_owned() }
}

fn unsupported(feature: &'static str, place: &str) -> LoadError {
    let remedy = "export the model for inference, with tensors alone";
    LoadError::Unsupported { feature, place: place.to_owned(), remedy }
}

/// A name of the model's, fit for a message.
fn shortened(name: &str) -> String {
    const LONGEST: usize = 120;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;

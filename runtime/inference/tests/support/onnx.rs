//! A small encoder of ONNX files, for models of a few nodes. It checks nothing: tests want
//! files that are wrong, too.

/// A dimension of an input or output.
#[derive(Clone, Copy)]
pub(crate) enum Dim {
    Fixed(i64),
    Named(&'static str),
}

pub(crate) const FLOAT: u64 = 1;
pub(crate) const UINT8: u64 = 2;
pub(crate) const INT8: u64 = 3;
pub(crate) const INT32: u64 = 6;
pub(crate) const INT64: u64 = 7;
pub(crate) const STRING: u64 = 8;
pub(crate) const BOOL: u64 = 9;
pub(crate) const FLOAT16: u64 = 10;
pub(crate) const DOUBLE: u64 = 11;
pub(crate) const BFLOAT16: u64 = 16;

/// An attribute of a node.
pub(crate) enum Attribute {
    Int(&'static str, i64),
    Ints(&'static str, Vec<i64>),
    Float(&'static str, f32),
    Tensor(&'static str, Vec<u8>),
    Graph(&'static str, Graph),
}

/// A graph that is being put together.
#[derive(Clone, Default)]
pub(crate) struct Graph(Vec<u8>);

impl Graph {
    pub(crate) fn input(self, name: &str, element: u64, dims: &[Dim]) -> Self {
        self.field(11, &declaration(name, element, dims))
    }

    pub(crate) fn output(self, name: &str, element: u64, dims: &[Dim]) -> Self {
        self.field(12, &declaration(name, element, dims))
    }

    /// An initializer, see [`tensor`].
    pub(crate) fn initializer(self, tensor: &[u8]) -> Self {
        self.field(5, tensor)
    }

    pub(crate) fn floats(self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(&tensor(name, FLOAT, dims, &raw))
    }

    pub(crate) fn numbers(self, name: &str, dims: &[i64], values: &[i64]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(&tensor(name, INT64, dims, &raw))
    }

    pub(crate) fn node(self, operator: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        self.node_with(operator, inputs, outputs, Vec::new())
    }

    pub(crate) fn node_with(
        self,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: Vec<Attribute>,
    ) -> Self {
        let mut node = Vec::new();
        inputs.iter().for_each(|name| block(&mut node, 1, name.as_bytes()));
        outputs.iter().for_each(|name| block(&mut node, 2, name.as_bytes()));
        block(&mut node, 3, format!("{operator}_{}", outputs.join("_")).as_bytes());
        // A name before a colon is a domain.
        let (domain, operator) = operator.rsplit_once(':').unwrap_or(("", operator));
        block(&mut node, 4, operator.as_bytes());
        attributes.iter().for_each(|attribute| block(&mut node, 5, &encoded(attribute)));
        block(&mut node, 7, domain.as_bytes());
        self.field(1, &node)
    }

    /// The file.
    pub(crate) fn model(&self) -> Vec<u8> {
        let mut model = Vec::new();
        number(&mut model, 1, 8);
        block(&mut model, 7, &self.0);
        let mut operators = Vec::new();
        number(&mut operators, 2, 17);
        block(&mut model, 8, &operators);
        model
    }

    /// Any field of the graph.
    pub(crate) fn field(mut self, field: u64, bytes: &[u8]) -> Self {
        block(&mut self.0, field, bytes);
        self
    }
}

/// A tensor with its data as bytes.
pub(crate) fn tensor(name: &str, element: u64, dims: &[i64], raw: &[u8]) -> Vec<u8> {
    let mut tensor = Vec::new();
    dims.iter().for_each(|dim| number(&mut tensor, 1, dim.cast_unsigned()));
    number(&mut tensor, 2, element);
    block(&mut tensor, 8, name.as_bytes());
    block(&mut tensor, 9, raw);
    tensor
}

fn declaration(name: &str, element: u64, dims: &[Dim]) -> Vec<u8> {
    let mut shape = Vec::new();
    for dim in dims {
        let mut one = Vec::new();
        match dim {
            Dim::Fixed(size) => number(&mut one, 1, size.cast_unsigned()),
            Dim::Named(name) => block(&mut one, 2, name.as_bytes()),
        }
        block(&mut shape, 1, &one);
    }
    let mut tensor = Vec::new();
    number(&mut tensor, 1, element);
    block(&mut tensor, 2, &shape);
    let mut typed = Vec::new();
    block(&mut typed, 1, &tensor);
    let mut declaration = Vec::new();
    block(&mut declaration, 1, name.as_bytes());
    block(&mut declaration, 2, &typed);
    declaration
}

fn encoded(attribute: &Attribute) -> Vec<u8> {
    let mut bytes = Vec::new();
    match attribute {
        Attribute::Int(name, value) => {
            block(&mut bytes, 1, name.as_bytes());
            number(&mut bytes, 3, value.cast_unsigned());
            number(&mut bytes, 20, 2);
        }
        Attribute::Ints(name, values) => {
            block(&mut bytes, 1, name.as_bytes());
            values.iter().for_each(|value| number(&mut bytes, 8, value.cast_unsigned()));
            number(&mut bytes, 20, 7);
        }
        Attribute::Float(name, value) => {
            block(&mut bytes, 1, name.as_bytes());
            varint(&mut bytes, 2 << 3 | 5);
            bytes.extend(value.to_le_bytes());
            number(&mut bytes, 20, 1);
        }
        Attribute::Tensor(name, tensor) => {
            block(&mut bytes, 1, name.as_bytes());
            block(&mut bytes, 5, tensor);
            number(&mut bytes, 20, 4);
        }
        Attribute::Graph(name, graph) => {
            block(&mut bytes, 1, name.as_bytes());
            block(&mut bytes, 6, &graph.0);
            number(&mut bytes, 20, 5);
        }
    }
    bytes
}

/// A field with a number.
pub(crate) fn number(bytes: &mut Vec<u8>, field: u64, value: u64) {
    varint(bytes, field << 3);
    varint(bytes, value);
}

/// A field with bytes.
pub(crate) fn block(bytes: &mut Vec<u8>, field: u64, content: &[u8]) {
    varint(bytes, field << 3 | 2);
    varint(bytes, content.len() as u64);
    bytes.extend(content);
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

//! ONNX files (onnx.ai, `onnx.proto`, IR version 8, operator set 17): nodes in memory, weights streamed into the file or into one beside it.

use std::io::{self, BufWriter, Write};

use super::protobuf::Message;
use super::weights::write_elements;
use crate::format::WeightFormat;
use crate::tensor::{TensorSource, TensorSpec};

/// `TensorProto.DataType`: 32-bit floats.
pub(super) const FLOAT: u64 = 1;
/// `TensorProto.DataType`: 64-bit integers.
pub(super) const INT64: u64 = 7;
const FLOAT16: u64 = 10;
const IR_VERSION: u64 = 8;
/// The first with `LayerNormalization`.
const OPERATOR_SET: u64 = 17;
/// What a message of protocol buffers can hold.
pub(super) const MAX_BYTES: u64 = i32::MAX as u64;
/// `AttributeProto.AttributeType`.
const ATTRIBUTE_FLOAT: u64 = 1;
const ATTRIBUTE_INT: u64 = 2;
/// `TensorProto.DataLocation`.
const EXTERNAL: u64 = 1;

/// A graph being built: operations in the order in which they run.
#[derive(Debug)]
pub(super) struct Graph {
    /// Fields of `GraphProto` without the initializers.
    fields: Message,
    initializers: Vec<Initializer>,
    operations: usize,
}

/// A constant of the graph.
#[derive(Debug)]
pub(super) struct Initializer {
    name: String,
    data_type: u64,
    dims: Vec<usize>,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Inline(Vec<u8>),
    Weight {
        spec: TensorSpec,
        dtype: WeightFormat,
        bytes: u64,
    },
}

impl Initializer {
    /// A tensor of the model, stored as `dtype` with the dimensions `dims`.
    pub fn weight(spec: TensorSpec, dims: Vec<usize>, dtype: WeightFormat) -> Self {
        let (data_type, element) = match dtype {
            WeightFormat::F16 => (FLOAT16, 2),
            _ => (FLOAT, 4),
        };
        let elements = spec.num_elements().map_or(u64::MAX, |n| n as u64);
        Self {
            name: spec.name.clone(),
            data_type,
            dims,
            data: Data::Weight {
                spec,
                dtype,
                bytes: elements.saturating_mul(element),
            },
        }
    }

    /// One float.
    pub fn float(name: &str, value: f32) -> Self {
        Self::inline(name, FLOAT, Vec::new(), value.to_le_bytes().into())
    }

    /// One integer, without dimensions.
    pub fn int(name: &str, value: i64) -> Self {
        Self::inline(name, INT64, Vec::new(), value.to_le_bytes().into())
    }

    /// A list of integers.
    pub fn ints(name: &str, values: &[i64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        Self::inline(name, INT64, vec![values.len()], bytes.collect())
    }

    fn inline(name: &str, data_type: u64, dims: Vec<usize>, bytes: Vec<u8>) -> Self {
        Self {
            name: name.to_owned(),
            data_type,
            dims,
            data: Data::Inline(bytes),
        }
    }

    /// `TensorProto` up to its data.
    fn header(&self) -> Message {
        let dims = self.dims.iter();
        dims.fold(Message::new(), |message, dim| message.int(1, *dim as u64))
            .int(2, self.data_type)
            .text(8, &self.name)
    }
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self {
            fields: Message::new().text(2, name),
            initializers: Vec::new(),
            operations: 0,
        }
    }

    /// Declares an input; a dimension that is no number is a name for any number.
    pub fn input(&mut self, name: &str, data_type: u64, dims: &[&str]) {
        self.field(11, &value_info(name, data_type, dims));
    }

    /// Declares an output.
    pub fn output(&mut self, name: &str, data_type: u64, dims: &[&str]) {
        self.field(12, &value_info(name, data_type, dims));
    }

    /// Adds a constant.
    pub fn initializer(&mut self, initializer: Initializer) {
        self.initializers.push(initializer);
    }

    /// Adds an operation with integer attributes and returns the name of its result.
    pub fn op(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, u64)]) -> String {
        let output = format!("{}_{}", op.to_lowercase(), self.operations);
        self.op_as(&output, op, inputs, attributes);
        output
    }

    /// The same with a name for its result.
    pub fn op_as(&mut self, output: &str, op: &str, inputs: &[&str], attributes: &[(&str, u64)]) {
        let attributes = attributes.iter().map(|(name, value)| {
            let attribute = Message::new().text(1, name).int(3, *value);
            attribute.int(20, ATTRIBUTE_INT)
        });
        let attributes: Vec<Message> = attributes.collect();
        self.node(output, op, inputs, &attributes);
    }

    /// Layer norm of x by (x, weight, bias) over the last dimension.
    pub fn layer_norm(&mut self, inputs: &[&str; 3], eps: f32) -> String {
        let output = format!("layernormalization_{}", self.operations);
        let epsilon = Message::new().text(1, "epsilon").float(2, eps);
        let epsilon = epsilon.int(20, ATTRIBUTE_FLOAT);
        self.node(&output, "LayerNormalization", inputs, &[epsilon]);
        output
    }

    fn node(&mut self, output: &str, op: &str, inputs: &[&str], attributes: &[Message]) {
        let inputs = inputs.iter();
        let mut node = inputs.fold(Message::new(), |node, input| node.text(1, input));
        node = node.text(2, output).text(3, output).text(4, op);
        for attribute in attributes {
            node = node.message(5, attribute);
        }
        self.operations += 1;
        self.field(1, &node);
    }

    fn field(&mut self, field: u64, message: &Message) {
        self.fields = std::mem::take(&mut self.fields).message(field, message);
    }
}

fn value_info(name: &str, data_type: u64, dims: &[&str]) -> Message {
    let shape = dims.iter().fold(Message::new(), |shape, dim| {
        let dim = match dim.parse() {
            Ok(number) => Message::new().int(1, number),
            Err(_) => Message::new().text(2, dim),
        };
        shape.message(1, &dim)
    });
    let tensor = Message::new().int(1, data_type).message(2, &shape);
    let kind = Message::new().message(1, &tensor);
    Message::new().text(1, name).message(2, &kind)
}

/// An ONNX file ready to be written.
#[derive(Debug)]
pub(super) struct OnnxFile<'a> {
    /// `ModelProto` up to the beginning of its graph's initializers.
    head: Message,
    /// The initializers; their weights follow their headers or are in another file.
    initializers: &'a [Initializer],
    headers: Vec<Message>,
    external: bool,
}

impl<'a> OnnxFile<'a> {
    /// The file of `graph` with `properties` (`metadata_props`), with all weights in it; or, with the name of a file beside it, in that one.
    pub fn new(graph: &'a Graph, properties: &[(&str, &str)], external: Option<&str>) -> Self {
        let mut offset = 0;
        let mut graph_bytes = graph.fields.as_bytes().len() as u64;
        let mut headers = Vec::with_capacity(graph.initializers.len());
        for initializer in &graph.initializers {
            let (mut tensor, mut behind) = (initializer.header(), 0);
            match (&initializer.data, external) {
                (Data::Inline(bytes), _) => tensor = tensor.bytes(9, bytes),
                (Data::Weight { bytes, .. }, None) => {
                    tensor = tensor.bytes_of(9, *bytes);
                    behind = *bytes;
                }
                (Data::Weight { bytes, .. }, Some(file)) => {
                    for (key, value) in [
                        ("location", file.to_owned()),
                        ("offset", offset.to_string()),
                        ("length", bytes.to_string()),
                    ] {
                        let entry = Message::new().text(1, key).text(2, &value);
                        tensor = tensor.message(13, &entry);
                    }
                    tensor = tensor.int(14, EXTERNAL);
                    offset += bytes;
                }
            }
            let length = (tensor.as_bytes().len() as u64).saturating_add(behind);
            let begin = Message::new().bytes_of(5, length);
            let header = [begin.as_bytes(), tensor.as_bytes()].concat();
            graph_bytes = graph_bytes
                .saturating_add(header.len() as u64)
                .saturating_add(behind);
            headers.push(Message::encoded(header));
        }
        let operators = Message::new().int(2, OPERATOR_SET);
        let mut head = Message::new()
            .int(1, IR_VERSION)
            .text(2, "ptbr-slm")
            .text(3, env!("CARGO_PKG_VERSION"))
            .message(8, &operators);
        for (key, value) in properties {
            head = head.message(14, &Message::new().text(1, key).text(2, value));
        }
        let head = head.bytes_of(7, graph_bytes);
        let head = [head.as_bytes(), graph.fields.as_bytes()].concat();
        Self {
            head: Message::encoded(head),
            initializers: &graph.initializers,
            headers,
            external: external.is_some(),
        }
    }

    /// Bytes of the file, the one beside it not counted.
    pub fn bytes(&self) -> u64 {
        let own = self.headers.iter().chain([&self.head]);
        let own = own.map(|message| message.as_bytes().len() as u64);
        let inside = self
            .initializers
            .iter()
            .map(|initializer| match initializer.data {
                Data::Weight { bytes, .. } if !self.external => bytes,
                _ => 0,
            });
        own.chain(inside).fold(0, u64::saturating_add)
    }

    /// Writes the file.
    pub fn write(&self, out: &mut dyn Write, model: &dyn TensorSource) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, out);
        out.write_all(self.head.as_bytes())?;
        for (initializer, header) in self.initializers.iter().zip(&self.headers) {
            out.write_all(header.as_bytes())?;
            if !self.external {
                initializer.write(&mut out, model)?;
            }
        }
        out.flush()
    }

    /// Writes the file beside it: the weights one after the other.
    pub fn write_weights(&self, out: &mut dyn Write, model: &dyn TensorSource) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, out);
        for initializer in self.initializers {
            initializer.write(&mut out, model)?;
        }
        out.flush()
    }
}

impl Initializer {
    /// Writes the weight's elements; nothing for a constant of the graph itself.
    fn write(&self, out: &mut dyn Write, model: &dyn TensorSource) -> io::Result<()> {
        match &self.data {
            Data::Weight { spec, dtype, .. } => {
                write_elements(model, spec, *dtype, &mut |bytes| out.write_all(bytes))
            }
            Data::Inline(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::MemoryTensors;

    #[test]
    fn weights_in_the_file_and_beside_it() {
        let specs = [TensorSpec::new("a", [2, 32]), TensorSpec::new("b", [3])];
        let mut model = MemoryTensors::new();
        model.push(specs[0].clone(), (0..64).map(|x| x as f32).collect());
        model.push(specs[1].clone(), vec![0.5, 1.5, 2.5]);
        let mut graph = Graph::new("g");
        graph.op_as("y", "Identity", &["a"], &[]);
        let [a, b] = specs;
        graph.initializer(Initializer::weight(a, vec![2, 32], WeightFormat::F16));
        graph.initializer(Initializer::float("one", 1.0));
        graph.initializer(Initializer::weight(b, vec![3], WeightFormat::F32));

        let inside = OnnxFile::new(&graph, &[], None);
        let mut file = Vec::new();
        inside.write(&mut file, &model).unwrap();
        assert_eq!(file.len() as u64, inside.bytes());

        let outside = OnnxFile::new(&graph, &[], Some("w.data"));
        let (mut file, mut weights) = (Vec::new(), Vec::new());
        outside.write(&mut file, &model).unwrap();
        outside.write_weights(&mut weights, &model).unwrap();
        assert_eq!(file.len() as u64, outside.bytes());
        assert_eq!(weights.len(), 64 * 2 + 3 * 4);
        assert_eq!(weights[128..132], 0.5f32.to_le_bytes());
        // Where each lies is in the file.
        for (offset, length) in [("0", "128"), ("128", "12")] {
            let entry = |key, value| {
                let entry = Message::new().text(1, key).text(2, value);
                Message::new().message(13, &entry)
            };
            let place = [
                entry("location", "w.data").as_bytes(),
                entry("offset", offset).as_bytes(),
                entry("length", length).as_bytes(),
                Message::new().int(14, EXTERNAL).as_bytes(),
            ]
            .concat();
            assert!(file.windows(place.len()).any(|part| part == place));
        }
    }
}

//! A small evaluator of ONNX files: as many operations as one recurrent step takes, in plain loops. It shares nothing with the exporter, so that a graph which it computes means what it says.

use std::collections::BTreeMap;

use ptbr_model::MatrixData;

/// A tensor of floats; integers of the graph (tokens, axes, indices) are floats as well.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

impl Tensor {
    pub fn new(shape: &[usize], data: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len());
        Self {
            shape: shape.to_vec(),
            data,
        }
    }

    /// Elements of one entry of the first dimension.
    fn stride(&self) -> usize {
        self.shape[1..].iter().product()
    }
}

/// A field of a protocol buffer message.
enum Field<'a> {
    Int(u64),
    Float(f32),
    Bytes(&'a [u8]),
}

/// The fields of a message with their numbers.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Int(varint(&mut bytes)),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(value)
            }
            5 => {
                let (value, rest) = bytes.split_first_chunk().expect("four bytes");
                bytes = rest;
                Field::Float(f32::from_le_bytes(*value))
            }
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

/// Every value of the field `number` that is bytes.
fn all<'a>(message: &'a [u8], number: u64) -> Vec<&'a [u8]> {
    let bytes = |(field, value): (u64, Field<'a>)| match value {
        Field::Bytes(bytes) if field == number => Some(bytes),
        _ => None,
    };
    fields(message).into_iter().filter_map(bytes).collect()
}

fn texts(message: &[u8], number: u64) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    all(message, number).into_iter().map(text).collect()
}

fn ints(message: &[u8], number: u64) -> Vec<u64> {
    let int = |(field, value)| match value {
        Field::Int(int) if field == number => Some(int),
        _ => None,
    };
    fields(message).into_iter().filter_map(int).collect()
}

struct Node {
    op: String,
    inputs: Vec<String>,
    output: String,
    /// Of `LayerNormalization`.
    epsilon: f32,
}

/// A graph with its constants.
pub struct Graph {
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    nodes: Vec<Node>,
    constants: BTreeMap<String, Tensor>,
}

impl Graph {
    pub fn read(file: &[u8]) -> Self {
        assert_eq!(ints(file, 1), [8], "ir_version");
        assert_eq!(ints(all(file, 8)[0], 2), [17], "the operator set");
        let graph = all(file, 7)[0];
        let names = |field| {
            let infos = all(graph, field).into_iter();
            infos.map(|info| texts(info, 1).remove(0)).collect()
        };
        let nodes = all(graph, 1).into_iter().map(|node| Node {
            op: texts(node, 4).remove(0),
            inputs: texts(node, 1),
            output: texts(node, 2).remove(0),
            epsilon: all(node, 5)
                .into_iter()
                .flat_map(fields)
                .find_map(|(_, value)| match value {
                    Field::Float(value) => Some(value),
                    _ => None,
                })
                .unwrap_or(0.0),
        });
        Self {
            inputs: names(11),
            outputs: names(12),
            nodes: nodes.collect(),
            constants: all(graph, 5).into_iter().map(constant).collect(),
        }
    }

    /// The outputs by name, for inputs by name. An operation whose input has not been computed yet is a fault of the graph.
    pub fn run(&self, inputs: &[(&str, Tensor)]) -> BTreeMap<String, Tensor> {
        let mut values = self.constants.clone();
        values.extend(
            inputs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        for node in &self.nodes {
            let value = |index: usize| {
                let name = &node.inputs[index];
                values
                    .get(name)
                    .unwrap_or_else(|| panic!("{name} is not there yet"))
            };
            let made = match node.op.as_str() {
                "Gather" => gather(value(0), value(1)),
                "Unsqueeze" => {
                    assert_eq!(value(1).data, [0.0]);
                    let shape = [&[1], value(0).shape.as_slice()].concat();
                    Tensor::new(&shape, value(0).data.clone())
                }
                "Concat" => {
                    let parts: Vec<&Tensor> = (0..node.inputs.len()).map(value).collect();
                    let data = parts.iter().flat_map(|part| part.data.clone()).collect();
                    let mut shape = parts[0].shape.clone();
                    shape[0] = parts.len();
                    Tensor::new(&shape, data)
                }
                "Gemm" => product(value(0), value(1)),
                "LayerNormalization" => layer_norm(value(0), value(1), value(2), node.epsilon),
                "Cast" => value(0).clone(),
                "Exp" => each(value(0), f32::exp),
                "Relu" => each(value(0), |x| x.max(0.0)),
                "Sigmoid" => each(value(0), |x| 1.0 / (1.0 + (-x).exp())),
                "Add" => pairs(value(0), value(1), |a, b| a + b),
                "Sub" => pairs(value(0), value(1), |a, b| a - b),
                "Mul" => pairs(value(0), value(1), |a, b| a * b),
                "Div" => pairs(value(0), value(1), |a, b| a / b),
                "Max" => pairs(value(0), value(1), f32::max),
                other => panic!("the operation {other}"),
            };
            assert!(
                values.insert(node.output.clone(), made).is_none(),
                "{} is computed twice",
                node.output
            );
        }
        let outputs = self.outputs.iter();
        outputs
            .map(|name| (name.clone(), values[name].clone()))
            .collect()
    }
}

/// Name and value of a `TensorProto`.
fn constant(tensor: &[u8]) -> (String, Tensor) {
    let shape: Vec<usize> = ints(tensor, 1)
        .into_iter()
        .map(|dim| dim as usize)
        .collect();
    let raw = all(tensor, 9)[0];
    let data = match ints(tensor, 2)[0] {
        1 => raw
            .as_chunks()
            .0
            .iter()
            .map(|x| f32::from_le_bytes(*x))
            .collect(),
        7 => raw
            .as_chunks()
            .0
            .iter()
            .map(|x| i64::from_le_bytes(*x) as f32)
            .collect(),
        10 => {
            let bits: Vec<u16> = raw
                .as_chunks()
                .0
                .iter()
                .map(|x| u16::from_le_bytes(*x))
                .collect();
            let mut data = vec![0.0; bits.len()];
            MatrixData::F16(&bits).dequantize(0, &mut data);
            data
        }
        other => panic!("the data type {other}"),
    };
    (texts(tensor, 8).remove(0), Tensor::new(&shape, data))
}

fn gather(data: &Tensor, indices: &Tensor) -> Tensor {
    let stride = data.stride();
    let rows = indices.data.iter();
    let rows = rows.flat_map(|index| data.data[*index as usize * stride..][..stride].to_vec());
    let shape = [indices.shape.as_slice(), &data.shape[1..]].concat();
    Tensor::new(&shape, rows.collect())
}

/// x · Wᵀ.
fn product(x: &Tensor, w: &Tensor) -> Tensor {
    let (rows, inner, outer) = (x.shape[0], x.shape[1], w.shape[0]);
    assert_eq!(w.shape[1], inner);
    let mut data = Vec::with_capacity(rows * outer);
    for row in x.data.chunks(inner) {
        data.extend(w.data.chunks(inner).map(|w| -> f32 {
            let sum: f64 = row.iter().zip(w).map(|(a, b)| f64::from(a * b)).sum();
            sum as f32
        }));
    }
    Tensor::new(&[rows, outer], data)
}

fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f32) -> Tensor {
    let width = weight.data.len();
    let mut data = Vec::with_capacity(x.data.len());
    for row in x.data.chunks(width) {
        let mean = row.iter().sum::<f32>() / width as f32;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / width as f32;
        let scale = 1.0 / (variance + epsilon).sqrt();
        let parameters = weight.data.iter().zip(&bias.data);
        data.extend(
            row.iter()
                .zip(parameters)
                .map(|(x, (w, b))| (x - mean) * scale * w + b),
        );
    }
    Tensor::new(&x.shape, data)
}

fn each(x: &Tensor, f: impl Fn(f32) -> f32) -> Tensor {
    Tensor::new(&x.shape, x.data.iter().map(|x| f(*x)).collect())
}

/// Element by element; the one with fewer dimensions is repeated.
fn pairs(a: &Tensor, b: &Tensor, f: impl Fn(f32, f32) -> f32) -> Tensor {
    let wide = if a.shape.len() >= b.shape.len() { a } else { b };
    let short = if a.shape.len() >= b.shape.len() { b } else { a };
    assert!(
        wide.shape.ends_with(&short.shape),
        "{:?} and {:?}",
        a.shape,
        b.shape
    );
    let at = |x: &Tensor, index: usize| x.data[index % x.data.len()];
    let data = (0..wide.data.len()).map(|index| f(at(a, index), at(b, index)));
    Tensor::new(&wide.shape, data.collect())
}

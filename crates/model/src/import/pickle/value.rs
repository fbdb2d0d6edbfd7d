//! What a pickle of tensors consists of: values that refer to each other by number, and the names that they may use.

use safetensors::Dtype;

/// Number of a value.
pub(super) type Id = usize;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    /// None, true or false: nothing that is read.
    Ignored,
    Int(i64),
    Text(&'a str),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage {
        dtype: Dtype,
        name: &'a str,
        len: u64,
    },
    // In a box: most values are small, and there may be a million.
    Tensor(Box<View>),
}

/// A tensor as a part of a storage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    /// The storage.
    pub storage: Id,
    /// Its element that is the tensor's first.
    pub first: u64,
    pub shape: Vec<u64>,
    pub strides: Vec<u64>,
}

/// The names that a pickle may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

impl Global {
    /// The one that a module calls so; `None` for everything else.
    pub fn of(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", storage) => Self::Storage(match storage {
                "FloatStorage" => Dtype::F32,
                "HalfStorage" => Dtype::F16,
                "BFloat16Storage" => Dtype::BF16,
                "DoubleStorage" => Dtype::F64,
                "LongStorage" => Dtype::I64,
                "IntStorage" => Dtype::I32,
                "ShortStorage" => Dtype::I16,
                "CharStorage" => Dtype::I8,
                "ByteStorage" => Dtype::U8,
                "BoolStorage" => Dtype::BOOL,
                _ => return None,
            }),
            _ => return None,
        })
    }
}

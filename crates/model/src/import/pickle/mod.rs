//! Reading the `data.pkl` of a `.pth` file: a pickle machine that knows tensors and nothing else.
//!
//! Python's pickle is a program that calls any function it names. This one carries out 27 opcodes and knows the names of a dictionary, of two functions
//! that put a tensor together, and of the types of its numbers; any other opcode and any other name ends the reading. Nothing is ever called.
//!
//! Values stand in one list and refer to each other by number, so there is neither recursion nor a value inside another, whatever the file says.

mod opcode;
mod value;

use std::collections::BTreeMap;

use safetensors::Dtype;

use opcode::Opcode;
use value::{Global, Id, Value, View};

/// Instructions that are carried out at most; the largest model that the project allows takes about 700,000. Each holds at most one value, so this bounds memory.
const MAX_STEPS: usize = 1 << 20;
/// Bytes of one name of a global.
const MAX_NAME: usize = 128;

/// Dimensions of a tensor. Many tensors may name one tuple, and each gets a copy of it.
const MAX_RANK: usize = 8;

/// Why a pickle was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Byte of the opcode.
    pub offset: usize,
    pub reason: String,
}

/// A tensor as the pickle describes it: `shape` of a contiguous part of a storage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PickledTensor<'a> {
    pub name: &'a str,
    pub dtype: Dtype,
    /// Name of the storage: the entry `data/<storage>` of the archive.
    pub storage: &'a str,
    /// Elements of the storage.
    pub storage_len: u64,
    /// Element of the storage that is the tensor's first.
    pub first: u64,
    pub shape: Vec<u64>,
    pub strides: Vec<u64>,
}

/// The tensors that a pickled dictionary holds, in its order.
pub(super) fn tensors(pickle: &[u8]) -> Result<Vec<PickledTensor<'_>>, Refused> {
    let mut machine = Machine {
        pickle,
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
    };
    for _ in 0..MAX_STEPS {
        let offset = machine.at;
        let refused = |reason| Refused { offset, reason };
        match machine.step().map_err(refused)? {
            Step::Next => {}
            Step::Stop(result) => return machine.dictionary(result).map_err(refused),
        }
    }
    Err(Refused {
        offset: machine.at,
        reason: format!("it has more than {MAX_STEPS} instructions"),
    })
}

enum Step {
    Next,
    Stop(Id),
}

struct Machine<'a> {
    pickle: &'a [u8],
    at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
}

type Result<T, E = String> = std::result::Result<T, E>;

impl<'a> Machine<'a> {
    fn step(&mut self) -> Result<Step> {
        match Opcode::of(self.byte()?)? {
            Opcode::Proto => match self.byte()? {
                2 => {}
                other => return Err(format!("it is of protocol {other}; torch.save writes 2")),
            },
            Opcode::Stop => return Ok(Step::Stop(self.pop()?)),
            Opcode::Mark => self.marks.push(self.stack.len()),
            Opcode::None | Opcode::NewTrue | Opcode::NewFalse => self.push(Value::Ignored),
            Opcode::BinInt => {
                let number = i32::from_le_bytes(self.bytes()?);
                self.push(Value::Int(number.into()));
            }
            Opcode::BinInt1 => {
                let number = self.byte()?;
                self.push(Value::Int(number.into()));
            }
            Opcode::BinInt2 => {
                let number = u16::from_le_bytes(self.bytes()?);
                self.push(Value::Int(number.into()));
            }
            Opcode::Long1 => self.long()?,
            Opcode::BinUnicode => {
                let length = u32::from_le_bytes(self.bytes()?);
                let text = self.slice(length as usize)?;
                let text = std::str::from_utf8(text).map_err(|_| "a text that is not UTF-8")?;
                self.push(Value::Text(text));
            }
            Opcode::EmptyTuple => self.push(Value::Tuple(Vec::new())),
            Opcode::Tuple => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items));
            }
            Opcode::Tuple1 => self.tuple(1)?,
            Opcode::Tuple2 => self.tuple(2)?,
            Opcode::Tuple3 => self.tuple(3)?,
            Opcode::EmptyDict => self.push(Value::Dict(Vec::new())),
            Opcode::SetItem => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            Opcode::SetItems => {
                let items = self.pop_to_mark()?;
                self.set_items(&items)?;
            }
            Opcode::BinPut => {
                let key = self.byte()?.into();
                self.put(key)?;
            }
            Opcode::LongBinPut => {
                let key = u32::from_le_bytes(self.bytes()?);
                self.put(key)?;
            }
            Opcode::BinGet => {
                let key = self.byte()?.into();
                self.get(key)?;
            }
            Opcode::LongBinGet => {
                let key = u32::from_le_bytes(self.bytes()?);
                self.get(key)?;
            }
            Opcode::Global => self.global()?,
            Opcode::BinPersId => self.storage()?,
            Opcode::Reduce => self.reduce()?,
            // What a dictionary of tensors carries beside them (`_metadata`) is dropped.
            Opcode::Build => {
                self.pop()?;
                let of = self.top()?;
                if !matches!(self.values.get(of), Some(Value::Dict(_))) {
                    return Err("BUILD of something else than a dictionary".to_owned());
                }
            }
        }
        Ok(Step::Next)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length);
        let slice = end.and_then(|end| self.pickle.get(self.at..end));
        let slice = slice.ok_or("it ends in the middle of an instruction")?;
        self.at += length;
        Ok(slice)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let slice = self.slice(N)?;
        slice.try_into().map_err(|_| "it ends early".to_owned())
    }

    fn byte(&mut self) -> Result<u8> {
        self.bytes().map(|[byte]| byte)
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.pickle[self.at..];
        let length = rest.iter().take(MAX_NAME).position(|byte| *byte == b'\n');
        let line = self.slice(length.ok_or("a name of a global that does not end")? + 1)?;
        let line = std::str::from_utf8(&line[..line.len() - 1]);
        line.map_err(|_| "a name of a global that is not UTF-8".to_owned())
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// The last value, which belongs to the part of the stack above the last mark.
    fn top(&self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let above = self.stack.get(floor..).and_then(<[Id]>::last);
        above
            .copied()
            .ok_or_else(|| "a value is missing".to_owned())
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn tuple(&mut self, length: usize) -> Result<()> {
        let mut items = vec![0; length];
        for item in items.iter_mut().rev() {
            *item = self.pop()?;
        }
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn long(&mut self) -> Result<()> {
        let length = self.byte()?;
        let bytes = self.slice(length.into())?;
        let mut number = [match bytes.last() {
            Some(last) if last & 0x80 != 0 => 0xff,
            _ => 0,
        }; 8];
        let number_bytes = number.get_mut(..bytes.len());
        let number_bytes = number_bytes.ok_or("a number of more than 64 bits")?;
        number_bytes.copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(number)));
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<()> {
        let dict = self.top()?;
        let Some(Value::Dict(entries)) = self.values.get_mut(dict) else {
            return Err("items are put into something else than a dictionary".to_owned());
        };
        let (pairs, []) = items.as_chunks() else {
            return Err("a key without a value".to_owned());
        };
        entries.extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    fn put(&mut self, key: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn get(&mut self, key: u32) -> Result<()> {
        let id = self.memo.get(&key).copied();
        self.stack
            .push(id.ok_or("a value is fetched that was never put away")?);
        Ok(())
    }

    fn global(&mut self) -> Result<()> {
        let (module, name) = (self.line()?, self.line()?);
        let global = Global::of(module, name).ok_or_else(|| {
            format!("the global `{module}.{name}` has no place in a list of tensors, and nothing is run here")
        })?;
        self.push(Value::Global(global));
        Ok(())
    }

    /// The tuple of a persistent id: `("storage", type, name, location, elements)`.
    fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        let storage = match self.items(id) {
            Some(&[kind, dtype, name, _, len]) if self.text(kind) == Some("storage") => {
                let dtype = match self.values.get(dtype) {
                    Some(Value::Global(Global::Storage(dtype))) => Some(*dtype),
                    _ => None,
                };
                let len = self.number(len);
                dtype.zip(self.text(name)).zip(len)
            }
            _ => None,
        };
        let ((dtype, name), len) = storage.ok_or("a persistent id that names no storage")?;
        self.push(Value::Storage { dtype, name, len });
        Ok(())
    }

    /// What one of the known functions would have returned for the arguments on the stack.
    fn reduce(&mut self) -> Result<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Some(Value::Global(function)) = self.values.get(function) else {
            return Err("REDUCE calls something else than a global".to_owned());
        };
        let Some(arguments) = self.items(arguments) else {
            return Err("REDUCE has no arguments".to_owned());
        };
        let made = match (function, arguments) {
            (Global::OrderedDict, []) => Value::Dict(Vec::new()),
            // (storage, first element, shape, strides, requires_grad, hooks and, since 2.0, metadata)
            (Global::RebuildTensor, &[storage, first, shape, strides, _, _, ..]) => {
                match (self.number(first), self.sizes(shape), self.sizes(strides)) {
                    (Some(first), Some(shape), Some(strides)) => Value::Tensor(Box::new(View {
                        storage,
                        first,
                        shape,
                        strides,
                    })),
                    _ => return Err("a tensor whose sizes are not a few numbers".to_owned()),
                }
            }
            (Global::RebuildParameter, &[tensor, _, _]) => {
                self.stack.push(tensor);
                return Ok(());
            }
            _ => return Err("a function is called with other arguments than its own".to_owned()),
        };
        self.push(made);
        Ok(())
    }

    fn items(&self, tuple: Id) -> Option<&[Id]> {
        match self.values.get(tuple)? {
            Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    fn text(&self, id: Id) -> Option<&'a str> {
        match self.values.get(id)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number that is not negative.
    fn number(&self, id: Id) -> Option<u64> {
        match self.values.get(id)? {
            Value::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The numbers of a tuple that is no longer than a tensor has dimensions.
    fn sizes(&self, tuple: Id) -> Option<Vec<u64>> {
        let items = self.items(tuple).filter(|items| items.len() <= MAX_RANK)?;
        items.iter().map(|&id| self.number(id)).collect()
    }

    /// The tensors of the dictionary that the pickle ended with.
    fn dictionary(&mut self, id: Id) -> Result<Vec<PickledTensor<'a>>> {
        let Some(Value::Dict(entries)) = self.values.get_mut(id) else {
            return Err("it holds no dictionary of tensors".to_owned());
        };
        let entries = std::mem::take(entries);
        let mut tensors = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let name = self.text(key).ok_or("a key that is no text")?;
            let Some(Value::Tensor(view)) = self.values.get(value) else {
                return Err(format!(
                    "`{name}` is not a tensor; save the weights alone (torch.save(model.state_dict(), …))"
                ));
            };
            let Some(&Value::Storage {
                dtype,
                name: storage,
                len,
            }) = self.values.get(view.storage)
            else {
                return Err(format!("`{name}` is a tensor without a storage"));
            };
            tensors.push(PickledTensor {
                name,
                dtype,
                storage,
                storage_len: len,
                first: view.first,
                shape: view.shape.clone(),
                strides: view.strides.clone(),
            });
        }
        Ok(tensors)
    }
}

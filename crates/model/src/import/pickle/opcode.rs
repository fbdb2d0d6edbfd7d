//! The opcodes of pickle that a list of tensors is written with, and the names of all others.
//!
//! Source of the codes: Python's `pickletools` documentation (protocols 0 to 5).

/// An instruction that is carried out; every other one is refused by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Proto,
    Stop,
    Mark,
    None,
    NewTrue,
    NewFalse,
    BinInt,
    BinInt1,
    BinInt2,
    Long1,
    BinUnicode,
    EmptyTuple,
    Tuple,
    Tuple1,
    Tuple2,
    Tuple3,
    EmptyDict,
    SetItem,
    SetItems,
    BinPut,
    LongBinPut,
    BinGet,
    LongBinGet,
    Global,
    BinPersId,
    Reduce,
    Build,
}

impl Opcode {
    /// The instruction with this code; `Err` with the name of one that is not carried out.
    pub fn of(code: u8) -> Result<Self, String> {
        Ok(match code {
            0x80 => Self::Proto,
            b'.' => Self::Stop,
            b'(' => Self::Mark,
            b'N' => Self::None,
            0x88 => Self::NewTrue,
            0x89 => Self::NewFalse,
            b'J' => Self::BinInt,
            b'K' => Self::BinInt1,
            b'M' => Self::BinInt2,
            0x8a => Self::Long1,
            b'X' => Self::BinUnicode,
            b')' => Self::EmptyTuple,
            b't' => Self::Tuple,
            0x85 => Self::Tuple1,
            0x86 => Self::Tuple2,
            0x87 => Self::Tuple3,
            b'}' => Self::EmptyDict,
            b's' => Self::SetItem,
            b'u' => Self::SetItems,
            b'q' => Self::BinPut,
            b'r' => Self::LongBinPut,
            b'h' => Self::BinGet,
            b'j' => Self::LongBinGet,
            b'c' => Self::Global,
            b'Q' => Self::BinPersId,
            b'R' => Self::Reduce,
            b'b' => Self::Build,
            other => return Err(refused(other)),
        })
    }
}

/// What `pickletools` calls an opcode that is not carried out.
fn refused(code: u8) -> String {
    let name = match code {
        b'0' => "POP",
        b'1' => "POP_MARK",
        b'2' => "DUP",
        b'F' => "FLOAT",
        b'G' => "BINFLOAT",
        b'I' => "INT",
        b'L' => "LONG",
        b'P' => "PERSID",
        b'S' => "STRING",
        b'T' => "BINSTRING",
        b'U' => "SHORT_BINSTRING",
        b'V' => "UNICODE",
        b'a' => "APPEND",
        b'd' => "DICT",
        b'e' => "APPENDS",
        b'g' => "GET",
        b'i' => "INST",
        b'l' => "LIST",
        b'o' => "OBJ",
        b'p' => "PUT",
        b']' => "EMPTY_LIST",
        b'B' => "BINBYTES",
        b'C' => "SHORT_BINBYTES",
        0x81 => "NEWOBJ",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        0x8b => "LONG4",
        0x8c => "SHORT_BINUNICODE",
        0x8d => "BINUNICODE8",
        0x8e => "BINBYTES8",
        0x8f => "EMPTY_SET",
        0x90 => "ADDITEMS",
        0x91 => "FROZENSET",
        0x92 => "NEWOBJ_EX",
        0x93 => "STACK_GLOBAL",
        0x94 => "MEMOIZE",
        0x95 => "FRAME",
        0x96 => "BYTEARRAY8",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        other => return format!("{other:#04x} is no opcode of pickle"),
    };
    format!("the opcode {name} is not one that torch.save writes for tensors")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_carried_out_or_named() {
        let (mut known, mut named) = (0, 0);
        for code in 0..=255 {
            match Opcode::of(code) {
                Ok(_) => known += 1,
                Err(reason) if reason.starts_with("the opcode ") => named += 1,
                Err(reason) => assert!(reason.contains("is no opcode"), "{reason}"),
            }
        }
        // pickletools.opcodes lists 68.
        assert_eq!((known, named), (27, 41));
    }
}

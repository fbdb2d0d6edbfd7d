//! `.pth` files made by hand: a zip archive of stored entries, and pickles put together opcode by opcode.
#![allow(dead_code, reason = "every test file uses its own part")]

/// The files of the archive that PyTorch wrote: a fixture, so it is trusted to be whole.
pub fn entries(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let u16 = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let u32 = |at: usize| u16(at) | u16(at + 2) << 16;
    let end = bytes.len() - 22;
    let mut at = u32(end + 16);
    let mut entries = Vec::new();
    for _ in 0..u16(end + 10) {
        let (size, name, extra, header) = (u32(at + 20), u16(at + 28), u16(at + 30), u32(at + 42));
        let start = header + 30 + u16(header + 26) + u16(header + 28);
        entries.push((
            String::from_utf8(bytes[at + 46..at + 46 + name].to_vec()).unwrap(),
            bytes[start..start + size].to_vec(),
        ));
        at += 46 + name + extra + u16(at + 32);
    }
    entries
}

/// An archive with these files, stored as they are. The checksums are zero: nobody looks at them.
pub fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let (size, offset) = (data.len() as u32, out.len() as u32);
        // Needed version, flags, method, time, date, checksum, both sizes, length of the name.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend(size.to_le_bytes());
        common.extend(size.to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend([0; 2]);
        out.extend(name.as_bytes());
        out.extend(data);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 12]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = out.len() as u32;
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([(entries.len() as u16).to_le_bytes(); 2].concat());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0; 2]);
    out
}

/// A `.pth` file with this pickle and these storages.
pub fn pth(pickle: &[u8], storages: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut entries = vec![("a/data.pkl".to_owned(), pickle.to_vec())];
    for (name, data) in storages {
        entries.push((format!("a/data/{name}"), data.clone()));
    }
    archive(&entries)
}

/// A text as BINUNICODE.
pub fn text(text: &str) -> Vec<u8> {
    let length = (text.len() as u32).to_le_bytes();
    [b"X", length.as_slice(), text.as_bytes()].concat()
}

/// A number as BININT.
pub fn int(number: i32) -> Vec<u8> {
    [b"J", number.to_le_bytes().as_slice()].concat()
}

/// A tuple.
pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(".as_slice(), &items.concat(), b"t"].concat()
}

/// A global by its module and name.
pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

/// A tensor: the call of `_rebuild_tensor_v2` for a part of the storage `name` of `len` elements of the type `kind`.
pub fn tensor(
    (kind, name, len): (&str, &str, i32),
    first: i32,
    shape: &[i32],
    strides: &[i32],
) -> Vec<u8> {
    let storage = tuple(&[
        text("storage"),
        global("torch", kind),
        text(name),
        text("cpu"),
        int(len),
    ]);
    let sizes = |sizes: &[i32]| tuple(&sizes.iter().map(|size| int(*size)).collect::<Vec<_>>());
    let hooks = [global("collections", "OrderedDict"), b")R".to_vec()].concat();
    let arguments = tuple(&[
        [storage, b"Q".to_vec()].concat(),
        int(first),
        sizes(shape),
        sizes(strides),
        b"\x89".to_vec(),
        hooks,
    ]);
    [
        global("torch._utils", "_rebuild_tensor_v2"),
        arguments,
        b"R".to_vec(),
    ]
    .concat()
}

/// A whole pickle: a dictionary of what `items` pushes, key and value in turn.
pub fn dictionary(items: &[Vec<u8>]) -> Vec<u8> {
    [b"\x80\x02}(".as_slice(), &items.concat(), b"u."].concat()
}

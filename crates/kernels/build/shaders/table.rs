//! The Rust text of the table: one constant per permutation. A function of the shaders' content only.

use std::fmt::Write;

use super::Shader;

/// Name of the file that holds a permutation's WGSL beside the table.
pub fn source_file(shader: &Shader) -> String {
    format!("{}.{}.wgsl", shader.kernel, shader.permutation)
}

/// The table. It expects `Kernel`, `Binding`, `Access`, `Element` and `Scalar` in scope, and the WGSL files in `OUT_DIR`.
pub fn write_table(shaders: &[Shader]) -> String {
    let mut text = String::new();
    let mut names = Vec::new();
    for shader in shaders {
        let name = format!("{}_{}", shader.kernel, shader.permutation).to_uppercase();
        // Writing to a String cannot fail.
        let _ = write_kernel(&mut text, &name, shader);
        names.push(name);
    }
    text.push_str("/// Every permutation of every kernel, sorted by name.\n");
    text.push_str(&format!(
        "pub const KERNELS: &[Kernel] = &[{}];\n",
        names.join(", ")
    ));
    text
}

fn write_kernel(text: &mut String, name: &str, shader: &Shader) -> std::fmt::Result {
    writeln!(
        text,
        "/// `shaders/{}.wgsl`, permutation `{}`.",
        shader.kernel, shader.permutation
    )?;
    writeln!(text, "pub const {name}: Kernel = Kernel {{")?;
    writeln!(text, "    name: {:?},", shader.kernel)?;
    writeln!(text, "    permutation: {:?},", shader.permutation)?;
    writeln!(
        text,
        "    source: include_str!(concat!(env!(\"OUT_DIR\"), \"/{}\")),",
        source_file(shader)
    )?;
    writeln!(
        text,
        "    source_hash: {:#018x},",
        fnv1a(shader.source.as_bytes())
    )?;
    writeln!(
        text,
        "    workgroup_size: {:?},",
        shader.reflection.workgroup_size
    )?;
    writeln!(text, "    bindings: &[")?;
    for (index, b) in shader.reflection.bindings.iter().enumerate() {
        let access = if b.read_write { "ReadWrite" } else { "Read" };
        writeln!(
            text,
            "        Binding {{ index: {index}, name: {:?}, access: Access::{access}, written: {}, \
             element: Element {{ scalar: Scalar::{}, components: {} }} }},",
            b.name, b.written, b.scalar, b.components
        )?;
    }
    writeln!(text, "    ],\n}};")
}

/// FNV-1a: a key for pipeline caches, not a protection against malice.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| {
        (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}

//! naga's verdict on a kernel, the ABI's rules, and what the table says about it.
//!
//! The ABI (design, section 5): entry point `main`; group 0, bindings 0…n in order, all storage buffers, at most 8; the last is
//! `params: array<u32>`; every binding is used. `INPUT_ACCESS=read` declares inputs `read` (runtime), so what is `read_write` must
//! be written; `INPUT_ACCESS=read_write` declares everything so (trainer, whose allocator hands out slices of one buffer).

use naga::valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ScalarKind, StorageAccess, TypeInner};

use super::preprocess::Expanded;
use super::{Permutation, ShaderError};

/// Limits that every WebGPU implementation grants.
const MAX_STORAGE_BUFFERS: usize = 8;
const MAX_INVOCATIONS: u32 = 256;
const MAX_WORKGROUP_BYTES: u32 = 16_384;

/// What the table says about a kernel.
#[derive(Debug)]
pub struct Reflection {
    /// `@workgroup_size`.
    pub workgroup_size: [u32; 3],
    /// Bindings by index.
    pub bindings: Vec<Binding>,
}

/// One storage buffer.
#[derive(Debug)]
pub struct Binding {
    /// Name in the shader.
    pub name: String,
    /// Declared `read_write`.
    pub read_write: bool,
    /// Written to by the kernel.
    pub written: bool,
    /// `F32`, `U32` or `I32`, as the table's `Scalar` spells it.
    pub scalar: &'static str,
    /// 1 for a scalar, 2 to 4 for a vector.
    pub components: u8,
}

/// Parses, validates, checks the ABI, reflects.
pub fn reflect(expanded: &Expanded, permutation: &Permutation) -> Result<Reflection, ShaderError> {
    let source = &expanded.source;
    let what = |message: String| format!("{message} (permutation `{}`)", permutation.name);
    let module = naga::front::wgsl::parse_str(source).map_err(|e| {
        let detail: Vec<&str> = e
            .labels()
            .map(|(_, label)| label)
            .filter(|label| !label.is_empty())
            .collect();
        let message = if detail.is_empty() {
            e.message().to_owned()
        } else {
            format!("{}: {}", e.message(), detail.join("; "))
        };
        expanded.error_at(
            e.location(source).map_or(0, |l| l.line_number),
            what(message),
        )
    })?;
    // Nothing that a WebGPU implementation may lack, except subgroups where the permutation's name says so. (naga counts f16 conversion as a capability because OpenGL may lack it.)
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    if permutation.defines.contains_key("SUBGROUPS") {
        capabilities |= Capabilities::SUBGROUP;
    }
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| {
            let mut message = e.as_inner().to_string();
            let mut cause = std::error::Error::source(e.as_inner());
            while let Some(error) = cause {
                message.push_str(&format!(": {error}"));
                cause = error.source();
            }
            expanded.error_at(
                e.location(source).map_or(0, |l| l.line_number),
                what(message),
            )
        })?;
    check_abi(expanded, permutation, &module, &info)
        .map_err(|(line, m)| expanded.error_at(line, what(m)))
}

/// A line of the expanded source and a message.
type Complaint = (u32, String);

fn check_abi(
    expanded: &Expanded,
    permutation: &Permutation,
    module: &Module,
    info: &ModuleInfo,
) -> Result<Reflection, Complaint> {
    let [entry] = module.entry_points.as_slice() else {
        return Err((
            0,
            format!(
                "{} entry points; a kernel has one, `main`",
                module.entry_points.len()
            ),
        ));
    };
    if entry.name != "main" || entry.stage != naga::ShaderStage::Compute {
        return Err((
            0,
            format!(
                "the entry point is `{}`; it must be a compute stage named `main`",
                entry.name
            ),
        ));
    }
    let invocations = entry
        .workgroup_size
        .iter()
        .try_fold(1u32, |product, &n| product.checked_mul(n));
    if invocations.is_none_or(|n| n > MAX_INVOCATIONS) {
        let message = format!(
            "a workgroup of {:?}; every adapter grants {MAX_INVOCATIONS} invocations",
            entry.workgroup_size
        );
        return Err((0, message));
    }

    let usage = info.get_entry_point(0);
    let everything_read_write = permutation
        .defines
        .get("INPUT_ACCESS")
        .is_some_and(|v| v == "read_write");
    let mut bindings: Vec<(u32, u32, Binding)> = Vec::new();
    let mut workgroup_bytes = 0u32;
    for (handle, variable) in module.global_variables.iter() {
        let line = module
            .global_variables
            .get_span(handle)
            .location(&expanded.source)
            .line_number;
        let name = variable.name.clone().unwrap_or_default();
        let Some(resource) = &variable.binding else {
            if variable.space == AddressSpace::WorkGroup {
                workgroup_bytes = workgroup_bytes
                    .saturating_add(module.types[variable.ty].inner.size(module.to_ctx()));
            }
            continue;
        };
        let complain = |message: String| Err((line, message));
        let AddressSpace::Storage { access } = variable.space else {
            return complain(format!("`{name}` is not a storage buffer"));
        };
        if resource.group != 0 {
            return complain(format!(
                "`{name}` is in group {}; bindings belong to group 0",
                resource.group
            ));
        }
        let Some((scalar, components)) = element(module, variable.ty) else {
            return complain(format!(
                "`{name}` is not a runtime-sized array of f32, u32, i32 or a vector of these"
            ));
        };
        if usage[handle].is_empty() {
            return complain(format!(
                "`{name}` is bound but never used; an automatic layout would drop it"
            ));
        }
        let read_write = access.contains(StorageAccess::STORE);
        let written = usage[handle].contains(GlobalUse::WRITE);
        if everything_read_write && !read_write {
            return complain(format!(
                "`{name}` is `read` where INPUT_ACCESS is read_write; declare it with INPUT_ACCESS"
            ));
        }
        if !everything_read_write && read_write && !written {
            return complain(format!(
                "`{name}` is `read_write` but never written; declare it with INPUT_ACCESS"
            ));
        }
        bindings.push((
            resource.binding,
            line,
            Binding {
                name,
                read_write,
                written,
                scalar,
                components,
            },
        ));
    }
    if workgroup_bytes > MAX_WORKGROUP_BYTES {
        return Err((
            0,
            format!(
                "{workgroup_bytes} bytes of workgroup memory; every adapter grants {MAX_WORKGROUP_BYTES}"
            ),
        ));
    }
    if bindings.len() > MAX_STORAGE_BUFFERS {
        return Err((
            0,
            format!(
                "{} storage buffers; every adapter grants {MAX_STORAGE_BUFFERS}: pack some",
                bindings.len()
            ),
        ));
    }
    for (expected, (index, line, binding)) in (0u32..).zip(&bindings) {
        if *index != expected {
            let message = format!(
                "`{}` has binding {index} where {expected} was expected: 0…n in the order declared",
                binding.name
            );
            return Err((*line, message));
        }
    }
    match bindings.last() {
        Some((_, _, last))
            if last.name == "params" && last.scalar == "U32" && last.components == 1 => {}
        Some((_, line, last)) => {
            return Err((
                *line,
                format!(
                    "the last binding is `{}`; it must be `params: array<u32>`",
                    last.name
                ),
            ));
        }
        None => {
            return Err((
                0,
                "no bindings; the last must be `params: array<u32>`".into(),
            ));
        }
    }
    Ok(Reflection {
        workgroup_size: entry.workgroup_size,
        bindings: bindings
            .into_iter()
            .map(|(_, _, binding)| binding)
            .collect(),
    })
}

/// Scalar and component count of a runtime-sized array's elements.
fn element(module: &Module, ty: naga::Handle<naga::Type>) -> Option<(&'static str, u8)> {
    let TypeInner::Array {
        base,
        size: naga::ArraySize::Dynamic,
        ..
    } = module.types[ty].inner
    else {
        return None;
    };
    let (scalar, components) = match module.types[base].inner {
        TypeInner::Scalar(scalar) => (scalar, 1),
        TypeInner::Vector { size, scalar } => (scalar, size as u8),
        _ => return None,
    };
    let name = match (scalar.kind, scalar.width) {
        (ScalarKind::Float, 4) => "F32",
        (ScalarKind::Uint, 4) => "U32",
        (ScalarKind::Sint, 4) => "I32",
        _ => return None,
    };
    Some((name, components))
}

//! The shader build: every permutation through naga's writers, the table against the sources, and what a broken shader reports.
//! Needs nothing.

#[path = "../build/shaders/mod.rs"]
mod shaders;

use std::path::{Path, PathBuf};

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use ptbr_kernels::table::{KERNELS, WKV_BACKWARD_READ, WKV_FORWARD_READ, WKV_FORWARD_READ_WRITE};
use ptbr_kernels::{Access, Element, Scalar};

fn repository_shaders() -> (PathBuf, PathBuf) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    (here.join("../../shaders"), here.join("permutations.txt"))
}

#[test]
fn naga_writes_every_permutation_as_spirv_msl_and_hlsl() {
    assert!(!KERNELS.is_empty());
    for kernel in KERNELS {
        let what = format!("{} {}", kernel.name, kernel.permutation);
        let module =
            naga::front::wgsl::parse_str(kernel.source).unwrap_or_else(|e| panic!("{what}: {e}"));
        // Subgroups need newer targets: wave operations in HLSL, group operations in SPIR-V.
        let subgroups = kernel.permutation.ends_with("_subgroups");
        let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        capabilities.set(Capabilities::SUBGROUP, subgroups);
        let info = Validator::new(ValidationFlags::all(), capabilities)
            .validate(&module)
            .unwrap_or_else(|e| panic!("{what}: {e:?}"));

        let mut options = spv::Options::default();
        if subgroups {
            options.lang_version = (1, 3);
        }
        let words = spv::write_vec(&module, &info, &options, None);
        let words = words.unwrap_or_else(|e| panic!("{what} as SPIR-V: {e}"));
        assert_eq!(words[0], 0x0723_0203, "{what}: the magic number of SPIR-V");

        let options = msl::Options {
            fake_missing_bindings: true,
            ..Default::default()
        };
        let (text, _) =
            msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
                .unwrap_or_else(|e| panic!("{what} as MSL: {e}"));
        assert!(text.contains("kernel void"), "{what}: {text}");

        let mut text = String::new();
        let mut options = hlsl::Options {
            fake_missing_bindings: true,
            ..Default::default()
        };
        if subgroups {
            options.shader_model = hlsl::ShaderModel::V6_0;
        }
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
            .write(&module, &info, None)
            .unwrap_or_else(|e| panic!("{what} as HLSL: {e}"));
        let [x, y, z] = kernel.workgroup_size;
        let threads = format!("numthreads({x}, {y}, {z})");
        assert!(text.contains(&threads), "{what}: {text}");
    }
}

#[test]
fn the_table_says_what_the_shaders_say() {
    assert_eq!(WKV_FORWARD_READ.workgroup_size, [64, 1, 1]);
    let names: Vec<&str> = WKV_BACKWARD_READ.bindings.iter().map(|b| b.name).collect();
    assert_eq!(
        names,
        [
            "wu", "k", "v", "seqs", "state_in", "grad_out", "grads", "params"
        ]
    );
    let seqs = WKV_FORWARD_READ.bindings[3];
    assert_eq!(
        seqs.element,
        Element {
            scalar: Scalar::U32,
            components: 4
        }
    );
    assert_eq!((seqs.access, seqs.written), (Access::Read, false));
    assert_eq!(
        (
            WKV_FORWARD_READ.bindings[5].access,
            WKV_FORWARD_READ.bindings[5].written
        ),
        (Access::ReadWrite, true)
    );
    assert!(
        WKV_FORWARD_READ_WRITE
            .bindings
            .iter()
            .all(|b| b.access == Access::ReadWrite)
    );
    for (i, a) in KERNELS.iter().enumerate() {
        assert!(
            KERNELS[..i].iter().all(|b| b.source_hash != a.source_hash),
            "{} {}",
            a.name,
            a.permutation
        );
    }
}

#[test]
fn packed_integers_are_left_to_the_permutations_named_so() {
    // The language feature packed_4x8_integer_dot_product: a browser without it refuses a shader that calls any of these.
    for kernel in KERNELS {
        let calls = ["pack4x", "dot4I8Packed", "dot4U8Packed"].map(|name| {
            let mut calls = kernel.source.match_indices(name);
            calls.any(|(at, _)| !kernel.source[at..].starts_with("pack4x8"))
        });
        let what = format!("{} {}", kernel.name, kernel.permutation);
        let named = kernel.permutation.ends_with("_dots");
        assert_eq!(calls.contains(&true), named, "{what}: {calls:?}");
    }
}

#[test]
fn the_table_is_a_function_of_the_shaders() {
    let (sources, permutations) = repository_shaders();
    let once = shaders::compile(&sources, &permutations).expect("the shaders compile");
    let twice = shaders::compile(&sources, &permutations).expect("the shaders compile");
    assert_eq!(shaders::write_table(&once), shaders::write_table(&twice));
    assert_eq!(once.len(), KERNELS.len());
    for (shader, kernel) in once.iter().zip(KERNELS) {
        assert_eq!(
            shader.source,
            kernel.source,
            "{}",
            shaders::source_file(shader)
        );
    }
    let files = shaders::inputs(&sources).expect("listed");
    assert!(
        files.iter().any(|f| f.ends_with("shared/wkv_step.wgsl")),
        "{files:?}"
    );
}

/// Line 1 of a kernel that keeps the rules; `BODY` is on line 6.
const GOOD: &str = "#import helper
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, INPUT_ACCESS> params: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    out[id.x] = twice(f32(params[0])); // BODY
}
";

/// Compiles one kernel with one helper; the errors, their paths cut to file names.
fn errors(kernel: &str, helper: &str, permutations: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("shared")).expect("folder");
    std::fs::write(at("k.wgsl"), kernel).expect("kernel");
    std::fs::write(at("shared/helper.wgsl"), helper).expect("helper");
    std::fs::write(at("list.txt"), permutations).expect("list");
    let prefix = format!("{}/", folder.path().display());
    match shaders::compile(folder.path(), &at("list.txt")) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .iter()
            .map(|e| e.to_string().replace(&prefix, ""))
            .collect(),
    }
}

const HELPER: &str = "// A comment, so that the function is on line 3.\n\nfn twice(x: f32) -> f32 { return 2.0 * x; }\n";
const LIST: &str = "k\n  read INPUT_ACCESS=read\n";

/// The one error that replacing `from` by `to` in the kernel gives.
fn broken(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let found = errors(&GOOD.replace(from, to), HELPER, LIST);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn assert_error(found: &str, place: &str, text: &str) {
    assert!(found.starts_with(place) && found.contains(text), "{found}");
}

#[test]
fn a_broken_shader_is_reported_with_file_and_line() {
    assert_eq!(errors(GOOD, HELPER, LIST), Vec::<String>::new());
    assert_error(&broken("twice(f32", "thrice(f32"), "k.wgsl:6: ", "thrice");
    assert_error(
        &broken("f32(params[0])", "params[0]"),
        "k.wgsl:6: ",
        "permutation `read`",
    );
    // In the import, whose lines do not start at 1 and whose comments are dropped.
    let found = errors(GOOD, &HELPER.replace("2.0 * x", "2.0 * y"), LIST);
    assert_error(&found[0], "shared/helper.wgsl:3: ", "y");
    let found = errors(GOOD, &HELPER.replace("return 2.0 * x;", ""), LIST);
    assert_error(&found[0], "shared/helper.wgsl:3: ", "");
}

#[test]
fn broken_directives_are_reported_with_file_and_line() {
    assert_error(
        &broken("#import helper", "#import help"),
        "k.wgsl:1: ",
        "there is no shared/help.wgsl",
    );
    assert_error(
        &broken("#import helper", "#include helper"),
        "k.wgsl:1: ",
        "expected #import NAME",
    );
    assert_error(
        &broken("#import helper", "#import helper again"),
        "k.wgsl:1: ",
        "unexpected `again`",
    );
    assert_error(
        &broken("@compute", "#ifdef F16\n@compute"),
        "k.wgsl:4: ",
        "no #endif",
    );
    assert_error(
        &broken("@compute", "#else\n@compute"),
        "k.wgsl:4: ",
        "#else without #ifdef",
    );
    assert_error(
        &broken("@compute", "#endif\n@compute"),
        "k.wgsl:4: ",
        "#endif without #ifdef",
    );
}

#[test]
fn every_rule_of_the_abi_is_checked() {
    assert_error(&broken("fn main", "fn start"), "k.wgsl:0: ", "named `main`");
    assert_error(&broken("(64)", "(512)"), "k.wgsl:0: ", "256 invocations");
    assert_error(
        &broken("@binding(1)", "@binding(2)"),
        "k.wgsl:3: ",
        "binding 2 where 1 was expected",
    );
    assert_error(
        &broken("@group(0) @binding(1)", "@group(1) @binding(1)"),
        "k.wgsl:3: ",
        "group 1",
    );
    assert_error(&broken("params[0]", "id.y"), "k.wgsl:3: ", "never used");
    assert_error(
        &broken("array<u32>", "array<f32>"),
        "k.wgsl:3: ",
        "must be `params: array<u32>`",
    );
    assert_error(
        &broken("array<u32>", "array<u32, 4>"),
        "k.wgsl:3: ",
        "runtime-sized array",
    );
    assert_error(
        &broken("INPUT_ACCESS", "read_write"),
        "k.wgsl:3: ",
        "never written",
    );
    let found = errors(
        &GOOD.replace("INPUT_ACCESS", "read"),
        HELPER,
        "k\n  rw INPUT_ACCESS=read_write\n",
    );
    assert_error(&found[0], "k.wgsl:3: ", "declare it with INPUT_ACCESS");

    let more: String = (2..9)
        .map(|i| format!("@group(0) @binding({i}) var<storage, read> b{i}: array<u32>;\n"))
        .collect();
    let uses: String = (2..9).map(|i| format!(" + f32(b{i}[0])")).collect();
    let nine = GOOD
        .replace("@compute", &format!("{more}@compute"))
        .replace("; // BODY", &format!("{uses};"));
    assert_error(
        &errors(&nine, HELPER, LIST)[0],
        "k.wgsl:0: ",
        "9 storage buffers",
    );
}

#[test]
fn the_list_of_permutations_is_checked() {
    let list = |text: &str| errors(GOOD, HELPER, text);
    assert_error(
        &list("")[0],
        "k.wgsl:0: ",
        "no permutation of this kernel is listed",
    );
    assert_error(
        &list("  read INPUT_ACCESS=read\n")[0],
        "list.txt:1: ",
        "before any kernel",
    );
    assert_error(
        &list(&format!("{LIST}other\n  a\n"))[0],
        "list.txt:4: ",
        "has no file",
    );
    assert_error(
        &list(&format!("{LIST}  read\n"))[0],
        "list.txt:3: ",
        "listed twice",
    );
    assert_error(&list("K\n")[0], "list.txt:1: ", "lower-case");
    assert_error(&list("k read\n")[0], "list.txt:1: ", "unexpected `read`");
}

#[test]
fn defines_choose_lines_and_replace_whole_words() {
    let kernel = GOOD.replace(
        "    out[id.x]",
        "#ifdef HALF\n    let INPUT_ACCESS_2 = 0.5;\n#else\n#ifndef NEVER\n    let INPUT_ACCESS_2 = FACTOR;\n#endif\n#endif\n    out[id.x] = INPUT_ACCESS_2;\n    out[id.x]",
    );
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::create_dir(folder.path().join("shared")).expect("folder");
    std::fs::write(folder.path().join("k.wgsl"), kernel).expect("kernel");
    // Imported twice, also by itself: included once.
    std::fs::write(
        folder.path().join("shared/helper.wgsl"),
        format!("#import helper\n{HELPER}"),
    )
    .expect("helper");
    let list = folder.path().join("list.txt");
    std::fs::write(
        &list,
        "k\n  b INPUT_ACCESS=read HALF\n  a INPUT_ACCESS=read FACTOR=3.0 # comment\n",
    )
    .expect("list");
    let compiled = shaders::compile(folder.path(), &list).expect("compiles");
    let names: Vec<&str> = compiled.iter().map(|s| s.permutation.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(
        compiled[0].source.contains("let INPUT_ACCESS_2 = 3.0;")
            && !compiled[0].source.contains("0.5")
    );
    assert!(
        compiled[1].source.contains("let INPUT_ACCESS_2 = 0.5;")
            && !compiled[1].source.contains("FACTOR")
    );
    assert!(!compiled[0].source.contains("//"), "comments are dropped");
    let table = shaders::write_table(&compiled);
    assert!(table.find("pub const K_A").expect("K_A") < table.find("pub const K_B").expect("K_B"));
}

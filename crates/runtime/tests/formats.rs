//! Every number format on every engine against f32 on the CPU, with random weights of realistic scale and sizes that are no powers of two. With the feature `gpu` it needs an adapter; a
//! software one will do (`apt-get install mesa-vulkan-drivers libvulkan1`). `cargo xtask test --full` also runs it on wasm32, in Node, on the CPU engine. The whole table: `examples/accuracy.rs`.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::accuracy::{difference, in_format, random_text};
use common::{config, random_tensors};
use ptbr_model::{ArchConfig, WeightFormat};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Most of the root mean square difference of a logit, as a share of the logits' own: what 24, 11, 8, 4 and 4 bits of a weight with its group's scale give after five layers, and half as
/// much again.
fn allowed(format: WeightFormat) -> f64 {
    match format {
        WeightFormat::F32 => 1e-5,
        WeightFormat::F16 => 1e-3,
        WeightFormat::Int8 => 2e-2,
        WeightFormat::Fp8 => 8e-2,
        WeightFormat::Int4 => 2e-1,
    }
}

#[test]
fn logits_of_every_format_are_near_those_of_f32() {
    for (vocab, d_model, layers) in [(257, 96, 5), (1003, 64, 1), (257, 320, 2)] {
        let config = config(vocab, d_model, layers, 4 * d_model);
        let tensors = random_tensors(&config, 21);
        let config = ArchConfig::Rwkv4(config);
        let exact = in_format(&config, &tensors, WeightFormat::F32);
        let tokens = random_text(40, vocab);
        for format in WeightFormat::ALL {
            let model = in_format(&config, &tensors, format);
            let on_cpu = difference(&exact, &model, &tokens);
            let share = on_cpu.rms / on_cpu.logits_rms;
            println!("{vocab} {d_model} {layers} {format}: CPU {share:.1e}");
            assert!(share < allowed(format), "{format} on the CPU: {on_cpu:?}");
            #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
            {
                model.use_gpu(ptbr_runtime::AdapterChoice::Any).unwrap();
                let on_gpu = difference(&exact, &model, &tokens);
                let share = on_gpu.rms / on_gpu.logits_rms;
                println!("{vocab} {d_model} {layers} {format}: GPU {share:.1e}");
                assert!(share < allowed(format), "{format} on the GPU: {on_gpu:?}");
            }
        }
    }
}

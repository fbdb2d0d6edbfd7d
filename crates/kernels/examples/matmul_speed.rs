//! Time of the trainer's f16 products beside the runtime's on every adapter found: `cargo run --release -p ptbr-kernels --example matmul_speed`.
//!
//! With an argument only the permutations whose names contain it.
//!
//! 512 rows of 768 inputs, 3,072 outputs. The best of several runs: wall time, and on Linux the processor time of this process, in which a software adapter computes. Inputs of the runtime's
//! product are f32; the trainer's are f16 and leave out what adapters and outcomes cost.

use std::time::{Duration, Instant};

use ptbr_kernels::cpu::{LinearProduct, MatmulF16Params, Outcome, ProjectParams};
use ptbr_kernels::{Kernel, KernelError, table};

const ROWS: u32 = 512;
const INPUTS: u32 = 768;
const OUTPUTS: u32 = 3072;
const RUNS: usize = 7;

/// 1.0 in f16, twice.
const ONES: u32 = 0x3c00_3c00;

/// A product: kernel, contents of its bindings, workgroups.
type Product = (Kernel, Vec<Vec<u32>>, [u32; 3]);

fn main() -> Result<(), KernelError> {
    let mut products = vec![of_the_runtime()];
    for (product, kernels) in [
        (
            LinearProduct::Forward,
            vec![
                table::MATMUL_F16_FORWARD_F16_READ,
                table::MATMUL_F16_FORWARD_F32_READ,
            ],
        ),
        (
            LinearProduct::InputGradient,
            vec![
                table::MATMUL_F16_INPUT_GRADIENT_F16_READ,
                table::MATMUL_F16_INPUT_GRADIENT_F32_READ,
            ],
        ),
        (
            LinearProduct::WeightGradient,
            vec![table::MATMUL_F16_WEIGHT_GRADIENT_F32_READ],
        ),
    ] {
        for kernel in kernels {
            products.push(of_the_trainer(product, kernel)?);
        }
    }
    if let Some(part) = std::env::args().nth(1) {
        products.retain(|(kernel, ..)| kernel.permutation.contains(&part));
    }
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    if adapters.is_empty() {
        println!("no GPU adapter, not even a software one");
    }
    for adapter in adapters {
        println!("{}", adapter.get_info().name);
        match pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())) {
            Ok((device, queue)) => products
                .iter()
                .for_each(|product| measure(&device, &queue, product)),
            Err(error) => println!("  no device: {error}"),
        }
    }
    Ok(())
}

fn of_the_runtime() -> Product {
    let params = ProjectParams {
        rows: ROWS,
        weight_rows: OUTPUTS,
        cols: INPUTS,
        parts_at: [OUTPUTS; 2],
        input_stride: INPUTS,
        output_stride: OUTPUTS,
        first_output: 0,
        outcome: Outcome::Store,
        low_words: 0,
        parts: 1,
        first_weight_row: 0,
        workgroup_rows: 64,
    };
    let contents = vec![
        vec![ONES; (OUTPUTS * INPUTS / 2) as usize],
        vec![1.0f32.to_bits(); (ROWS * INPUTS) as usize],
        vec![0],
        vec![0],
        vec![0; (ROWS * OUTPUTS) as usize],
        params.words().to_vec(),
    ];
    let workgroups = [OUTPUTS.div_ceil(128), ROWS.div_ceil(32), 1];
    (table::MATMUL_F16, contents, workgroups)
}

fn of_the_trainer(product: LinearProduct, kernel: Kernel) -> Result<Product, KernelError> {
    let params = MatmulF16Params {
        product,
        rows: ROWS,
        inputs: INPUTS,
        outputs: OUTPUTS,
        add: false,
    };
    let (x, w, y) = (ROWS * INPUTS, OUTPUTS * INPUTS, ROWS * OUTPUTS);
    let [a, b, out] = match product {
        LinearProduct::Forward => [x, w, y],
        LinearProduct::InputGradient => [y, w, x],
        LinearProduct::WeightGradient => [y, x, w],
    };
    let packed = kernel.permutation.contains("_f16");
    let contents = vec![
        vec![ONES; (a / 2) as usize],
        vec![ONES; (b / 2) as usize],
        vec![0; (if packed { out / 2 } else { out }) as usize],
        params.words().to_vec(),
    ];
    Ok((kernel, contents, params.workgroups(packed)?))
}

fn measure(device: &wgpu::Device, queue: &wgpu::Queue, product: &Product) {
    let (kernel, contents, [x, y, z]) = product;
    let what = format!("{} {}", kernel.name, kernel.permutation);
    let buffers: Vec<wgpu::Buffer> = contents
        .iter()
        .zip(kernel.bindings)
        .map(|(words, binding)| {
            let buffer = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(binding.name),
                size: 4 * words.len() as u64,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            queue.write_buffer(&buffer, 0, bytemuck::cast_slice(words));
            buffer
        })
        .collect();
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(&what),
        source: wgpu::ShaderSource::Wgsl(kernel.source.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&what),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let entries: Vec<wgpu::BindGroupEntry<'_>> = buffers
        .iter()
        .zip(0u32..)
        .map(|(buffer, binding)| wgpu::BindGroupEntry {
            binding,
            resource: buffer.as_entire_binding(),
        })
        .collect();
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(&what),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    let (mut best, mut best_of_processor) = (Duration::MAX, None::<Duration>);
    for _ in 0..RUNS {
        let (begin, processor) = (Instant::now(), processor_time());
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some(&what) };
        let mut encoder = device.create_command_encoder(&descriptor);
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(*x, *y, *z);
        }
        queue.submit([encoder.finish()]);
        if let Err(error) = device.poll(wgpu::PollType::wait_indefinitely()) {
            println!("  {what}: {error}");
            return;
        }
        best = best.min(begin.elapsed());
        let taken = processor.zip(processor_time()).map(|(a, b)| b - a);
        best_of_processor = best_of_processor
            .into_iter()
            .chain(taken)
            .reduce(Duration::min);
    }
    let gflop = 2e-9 * f64::from(ROWS) * f64::from(INPUTS) * f64::from(OUTPUTS);
    let rate = gflop / best.as_secs_f64();
    let processor = best_of_processor.map_or("?".into(), |time| format!("{} ms", time.as_millis()));
    println!(
        "  {what:<50} {:>5} ms, {rate:5.1} GFLOP/s; processor {processor}",
        best.as_millis()
    );
}

/// User and system time of this process, in steps of 10 ms; `None` where the system does not say.
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may hold spaces: fields 14 and 15 of proc(5), in hundredths of a second.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (next()? + next()?)))
}

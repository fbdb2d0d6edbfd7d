//! Products of integers, with inputs rounded to bytes on both sides.

use super::*;
use ptbr_model::{ModelFileInfo, QuantizationPlan, model_file_bytes, model_id};

/// Two sides that differ in the last bit of an input round it to neighbouring bytes now and then; a byte more or less moves the logits by this much of the largest at most.
const TOLERANCE: f32 = 3e-3;

const DOTS: GpuOptions = GpuOptions {
    settings: GpuSettings {
        adapter: AdapterChoice::Any,
        integer_dots: true,
        browser_subgroups: false,
    },
    ..OPTIONS
};

const INTEGERS: [WeightFormat; 2] = [WeightFormat::Int8, WeightFormat::Int4];

/// Widths that are no multiples of 64, in a number format.
fn stored(format: WeightFormat) -> Arc<Model> {
    let (config, tensors) = random_tensors(257, 96, 2, 160);
    let plan = QuantizationPlan::uniform(format);
    let id = model_id(&tensors).unwrap();
    let info = ModelFileInfo::quantized(&plan, config, None, id);
    Model::from_bytes("a test", model_file_bytes(&info, &tensors).unwrap()).unwrap()
}

fn text(len: usize) -> Vec<u16> {
    (0..len).map(|i| (i * 31 % 257) as u16).collect()
}

#[test]
fn logits_are_nearer_to_the_cpu_than_with_products_of_floats() {
    for format in INTEGERS {
        let [cpu, dots] = pair(&|| stored(format), DOTS);
        let [_, floats] = pair(&|| stored(format), OPTIONS);
        assert_eq!(dots.gpu_dispatches(), floats.gpu_dispatches());
        for len in [1, 5, 40] {
            let [expected, dots, floats] = [&cpu, &dots, &floats].map(|model| {
                let mut session = Session::new(Arc::clone(model));
                session.prefill(&text(len)).unwrap();
                session.decode(9).unwrap().to_vec()
            });
            let [dots, floats] = [&dots, &floats].map(|found| worst(found, &expected));
            println!("{format}, {len} tokens: {dots:e} from the CPU, with floats {floats:e}");
            assert!(
                dots < TOLERANCE && 3.0 * dots < floats,
                "{format}, {len} tokens"
            );
        }
    }
}

#[test]
fn neither_chunks_nor_company_change_more_than_a_rounding() {
    for format in INTEGERS {
        let [cpu, gpu] = pair(&|| stored(format), DOTS);
        let [on_cpu, on_gpu] = [&cpu, &gpu].map(adapters);
        let mut batch = Batch::new(Arc::clone(&gpu));
        let mut ids = Vec::new();
        for (number, len) in [255, 1, 31, 12].into_iter().enumerate() {
            let session = |model: &Arc<Model>, own: &[Arc<LoadedAdapter>]| {
                let mut session = Session::new(Arc::clone(model));
                session.set_adapter(own.get(number)).unwrap();
                session
            };
            let mut expected = session(&cpu, &on_cpu);
            expected.prefill(&text(len)).unwrap();
            for chunk in [256, 64, 7] {
                let mut alone = session(&gpu, &on_gpu);
                alone.set_chunk_size(chunk);
                let found = alone.prefill(&text(len)).unwrap();
                let error = worst(found, expected.logits().unwrap());
                println!("{format}, {len} tokens by {chunk}: {error:e}");
                assert!(
                    error < TOLERANCE,
                    "{format}, {len} tokens by {chunk}: {error:e}"
                );
            }
            let id = batch.join(session(&gpu, &on_gpu)).unwrap();
            batch.feed(id, &text(len)).unwrap();
            ids.push((id, expected));
        }
        while batch.waiting() > 0 {
            batch.step().unwrap();
        }
        for (id, expected) in &ids {
            let found = batch.session(*id).unwrap().logits().unwrap();
            let error = worst(found, expected.logits().unwrap());
            assert!(error < TOLERANCE, "{format} in company: {error:e}");
        }
    }
}

#[test]
fn every_other_format_is_multiplied_as_before() {
    for format in [WeightFormat::F32, WeightFormat::F16, WeightFormat::Fp8] {
        let [dots, floats] = [DOTS, OPTIONS].map(|options| {
            let [_, gpu] = pair(&|| stored(format), options);
            Session::new(gpu).prefill(&text(20)).unwrap().to_vec()
        });
        assert_eq!(dots, floats, "{format}");
    }
}

#[test]
fn a_driver_whose_integers_are_wrong_is_found() {
    let edits: [(&str, WeightFormat, super::super::pipelines::ShaderEdit); 5] = [
        ("unsigned", WeightFormat::Int8, |source| {
            source.replace("dot4I8Packed(w.y, x.y)", "i32(dot4U8Packed(w.y, x.y))")
        }),
        ("half of a group", WeightFormat::Int8, |source| {
            source.replace("unit % 2u", "0u")
        }),
        ("nibbles", WeightFormat::Int4, |source| {
            source.replace("vec4<u32>(4u)", "vec4<u32>(3u)")
        }),
        ("minimum", WeightFormat::Int4, |source| {
            source.replace("scale.y * x.scale.y", "scale.y * x.scale.x")
        }),
        ("rounding", WeightFormat::Int8, |source| {
            source.replace("round(input", "trunc(input")
        }),
    ];
    for (name, format, edit) in edits {
        let options = GpuOptions {
            edit: Some(edit),
            ..DOTS
        };
        let result = block_on(stored(format).open_gpu(options));
        assert!(
            matches!(result, Err(RuntimeError::Gpu(GpuError::WrongAnswer { .. }))),
            "{name}: {result:?}"
        );
    }
}

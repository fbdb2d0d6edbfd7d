//! An adapter gives in the runtime, on both engines and above weights of any format, the logits that it gave where it was trained.
//!
//! Needs a GPU adapter; a software one will do (`apt-get install mesa-vulkan-drivers libvulkan1`).

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use ptbr_model::{Adapter, DomainFineTuneConfig, read_adapter};
use ptbr_runtime::{AdapterChoice, Model, Session};
use ptbr_train::TrainDevice;
use ptbr_train::fine_tune::{BaseModel, trained_specs, tuned_model};
use ptbr_train::model::{ForwardOptions, Windows};

use crate::finetune::{finetune_of, with_base};
use crate::program::run;

const TOKENS: usize = 48;
const TARGETS: &str = "att,ffn";

fn tokens() -> Vec<u16> {
    (0..TOKENS).map(|i| (i * i * 31 + 7) as u16 % 512).collect()
}

/// `[tokens, vocabulary]`, as the trainer computes them.
fn in_the_trainer(base: &Path, adapter: &Adapter) -> Vec<f32> {
    let base = BaseModel::open(base, TrainDevice::Cpu).unwrap_or_else(|error| panic!("{error}"));
    let tuning = DomainFineTuneConfig {
        rank: adapter.config.rank,
        alpha: adapter.config.alpha,
        targets: TARGETS.split(',').map(str::to_owned).collect(),
        ..DomainFineTuneConfig::default()
    };
    let specs = trained_specs(&tuning, base.config()).expect("targets that exist");
    assert_eq!(specs.len(), 2 * adapter.modules.len());
    let mut values = |spec: &ptbr_model::TensorSpec| {
        let (target, factor) = spec.name.split_once(".lora.").expect("a factor");
        let module = adapter.modules.iter().find(|m| m.target == target);
        let module = module.expect("a module of every target");
        Ok(match factor {
            "a" => module.a.clone(),
            _ => module.b.clone(),
        })
    };
    let model = tuned_model(&base, &tuning, &specs, &mut values).expect("a model");
    let inputs = Arc::new(tokens());
    let windows = Windows {
        targets: Arc::clone(&inputs),
        inputs,
        seq_len: TOKENS,
        carry: None,
    };
    let hidden = model.hidden(base.config(), &windows, ForwardOptions::EVALUATION);
    let logits = model.head.forward(hidden, ptbr_model::Precision::F32).into_data();
    logits.try_into_vec::<f32>().expect("f32 logits")
}

/// The same in the runtime.
fn in_the_runtime(model: &Arc<Model>, adapter: Option<&Path>) -> Vec<f32> {
    let adapter = adapter.map(|path| model.load_adapter(path).expect("the adapter"));
    let mut session = Session::new(Arc::clone(model));
    session
        .set_adapter(adapter.as_ref())
        .expect("an adapter of this model");
    let mut logits = Vec::new();
    session
        .prefill_all(&tokens(), &mut |_, row| {
            logits.extend_from_slice(row);
            ControlFlow::Continue(())
        })
        .expect("tokens that exist");
    logits
}

/// The largest difference, in parts of the largest logit.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max) / largest
}

#[test]
fn the_runtime_has_the_trainers_logits() {
    let folder = with_base();
    let at = folder.path();
    let int8 = "base.int8.safetensors";
    for (base, name) in [("base", "f32"), (int8, "int8")] {
        let more = [
            "--max-steps",
            "30",
            "--rank",
            "4",
            "--targets",
            TARGETS,
            "--learning-rate",
            "1e-2",
        ];
        run(at, &finetune_of(base, name, &more)).done();
        let path = at.join(name).join("leis/adapter");
        let adapter = read_adapter(&path).expect("the adapter");
        let trainer = in_the_trainer(&at.join(base), &adapter);
        let model = Model::load(&at.join(base)).expect("the base");
        let without = difference(&in_the_runtime(&model, None), &trainer);
        assert!(
            without > 0.1,
            "the adapter changes next to nothing: {without}"
        );

        // The CPU rounds inputs of integer weights to eight bits, the trainer does not.
        let cpu = difference(&in_the_runtime(&model, Some(&path)), &trainer);
        let bound = if name == "int8" { 3e-2 } else { 1e-5 };
        println!("{name}: CPU {cpu:e}");
        assert!(cpu < bound, "{name} on the CPU: {cpu}");

        model.use_gpu(AdapterChoice::Any).expect("a GPU");
        let gpu = difference(&in_the_runtime(&model, Some(&path)), &trainer);
        println!("{name}: GPU {gpu:e}");
        assert!(gpu < 1e-4, "{name} on the GPU: {gpu}");
    }
}

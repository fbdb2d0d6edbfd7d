//! How far a model's logits are from another's.

use ptbr_model::{
    ArchConfig, MemoryTensors, ModelFileInfo, QuantizationPlan, WeightFormat, model_file_bytes,
};
use ptbr_runtime::{Model, Session};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Over all logits after all tokens of a text.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    pub max: f64,
    pub rms: f64,
    /// Of the exact logits themselves.
    pub logits_rms: f64,
}

/// The model of these weights, stored in a format.
pub fn in_format(config: &ArchConfig, tensors: &MemoryTensors, format: WeightFormat) -> Arc<Model> {
    let plan = QuantizationPlan::uniform(format);
    let info = ModelFileInfo::quantized(&plan, config.clone(), None, super::model_id(tensors));
    Model::from_bytes(format.name(), model_file_bytes(&info, tensors).unwrap()).unwrap()
}

/// Logits of `model`, wherever it computes, against those of `exact`. Half of the text is read in one piece, the rest token by token: prefill and decode are different kernels.
pub fn difference(exact: &Arc<Model>, model: &Arc<Model>, tokens: &[u16]) -> Difference {
    let (exact, found) = (logits(exact, tokens), logits(model, tokens));
    assert_eq!(exact.len(), found.len());
    let (mut max, mut squares, mut own) = (0.0f64, 0.0, 0.0);
    for (&exact, &found) in exact.iter().zip(&found) {
        let error = f64::from(found) - f64::from(exact);
        assert!(error.is_finite());
        max = max.max(error.abs());
        squares += error * error;
        own += f64::from(exact) * f64::from(exact);
    }
    let count = exact.len() as f64;
    Difference {
        max,
        rms: (squares / count).sqrt(),
        logits_rms: (own / count).sqrt(),
    }
}

fn logits(model: &Arc<Model>, tokens: &[u16]) -> Vec<f32> {
    let mut session = Session::new(Arc::clone(model));
    let mut all = Vec::new();
    let (text, rest) = tokens.split_at(tokens.len() / 2);
    session
        .prefill_all(text, &mut |_, logits| {
            all.extend_from_slice(logits);
            ControlFlow::Continue(())
        })
        .unwrap();
    for &token in rest {
        all.extend_from_slice(session.decode(token).unwrap());
    }
    all
}

/// Tokens without meaning.
pub fn random_text(len: usize, vocab_size: usize) -> Vec<u16> {
    super::Noise(7).tokens(len, vocab_size)
}

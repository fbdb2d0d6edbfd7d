//! States carried from window to window: the model's side of it. Needs nothing.

mod common;

use std::sync::Arc;

use burn::tensor::Device;
use common::noise;
use ptbr_model::RwkvConfig;
use ptbr_train::Rwkv;
use ptbr_train::model::{
    CarriedLayer, Carry, ForwardOptions, Windows, init::initial_values, parameters::build,
};
use ptbr_train::optim::GradientSum;

const CHANNELS: usize = 32;

fn config() -> RwkvConfig {
    RwkvConfig::new(40, CHANNELS, 3, 16)
}

fn model(change: &dyn Fn(&str, &mut Vec<f32>)) -> Rwkv {
    let (config, device) = (config(), Device::flex().autodiff());
    build::<std::convert::Infallible>(&config, &device, &mut |spec| {
        let mut values = initial_values(&config, spec, 5);
        noise(&spec.name, &mut values);
        change(&spec.name, &mut values);
        Ok(values)
    })
    .unwrap_or_else(|never| match never {})
}

fn token(lane: usize, t: usize) -> u16 {
    let i = lane * 100 + t;
    ((i * i * 31 + i * 17) % 40) as u16
}

/// The windows `first..first + len` of two lanes.
fn windows(first: usize, len: usize, carry: Option<Arc<Carry>>) -> Windows {
    let tokens = |shift: usize| {
        let rows = (0..2).flat_map(|lane| (first..first + len).map(move |t| (lane, t + shift)));
        Arc::new(rows.map(|(lane, t)| token(lane, t)).collect::<Vec<u16>>())
    };
    Windows {
        inputs: tokens(0),
        targets: tokens(1),
        seq_len: len,
        carry,
    }
}

fn empty() -> Vec<CarriedLayer> {
    vec![CarriedLayer::empty(2, CHANNELS, &Device::flex()); config().n_layers]
}

fn loss(model: &Rwkv, windows: &Windows) -> f64 {
    let output = model.forward(&config(), windows, ForwardOptions::EVALUATION);
    output.read().loss
}

/// What two lanes end with after `len` tokens.
fn state_after(model: &Rwkv, len: usize) -> Vec<CarriedLayer> {
    let carry = Arc::new(Carry::new(empty(), vec![false; 2 * len]));
    assert!(carry.end().is_none(), "nothing has run");
    loss(model, &windows(0, len, Some(Arc::clone(&carry))));
    carry.end().expect("all layers ran")
}

#[test]
fn two_windows_are_one_of_twice_the_length() {
    let model = model(&|_, _| {});
    let (first, second) = (7, 7);
    let whole = loss(&model, &windows(0, first + second, None));
    let begin = loss(&model, &windows(0, first, None));
    let carry = Carry::new(state_after(&model, first), vec![false; 2 * second]);
    let carried = loss(&model, &windows(first, second, Some(Arc::new(carry))));
    println!("whole {whole}, first {begin}, second with the state of the first {carried}");
    assert!((whole - (begin + carried) / 2.0).abs() < 1e-6);
    let alone = loss(&model, &windows(first, second, None));
    assert!((carried - alone).abs() > 1e-3, "the state changes nothing");
}

#[test]
fn a_document_begins_without_history_wherever_it_stands() {
    let model = model(&|_, _| {});
    // Of a window of 9 tokens after 7, the lanes' next documents begin at their token 4 and 0.
    let (len, cut) = (9, 4);
    let mut fresh = vec![false; 2 * len];
    (fresh[cut], fresh[len]) = (true, true);
    let carry = Arc::new(Carry::new(state_after(&model, 7), fresh));
    let found = loss(&model, &windows(7, len, Some(Arc::clone(&carry))));

    // Lane by lane, from their parts.
    let lane = |lane: usize, part: std::ops::Range<usize>, start: Option<&[CarriedLayer]>| {
        let tokens =
            |shift: usize| Arc::new(part.clone().map(|t| token(lane, t + shift)).collect());
        let of_lane = |state: &CarriedLayer| CarriedLayer {
            att_x: state.att_x.clone().slice(lane..lane + 1),
            ffn_x: state.ffn_x.clone().slice(lane..lane + 1),
            wkv: state.wkv.clone().slice(3 * lane..3 * lane + 3),
        };
        let carry = start.map(|start| {
            let start = start.iter().map(of_lane).collect();
            Arc::new(Carry::new(start, vec![false; part.len()]))
        });
        let windows = Windows {
            inputs: tokens(0),
            targets: tokens(1),
            seq_len: part.len(),
            carry,
        };
        loss(&model, &windows) * part.len() as f64
    };
    let before = state_after(&model, 7);
    let expected = lane(0, 7..11, Some(&before)) + lane(0, 11..16, None) + lane(1, 7..16, None);
    assert!(
        (found - expected / 18.0).abs() < 1e-6,
        "{found}, {}",
        expected / 18.0
    );

    // What is left behind is the state of the documents, not of what stood before them.
    let end = carry.end().expect("all layers ran");
    let fresh = Arc::new(Carry::new(empty(), vec![false; 18]));
    loss(&model, &windows(7, len, Some(Arc::clone(&fresh))));
    let of_lane_1 = |states: &[CarriedLayer]| {
        let wkv = states[2].wkv.clone().slice(3..6).into_data();
        wkv.try_into_vec::<f32>().expect("f32 elements")
    };
    let (found, expected) = (of_lane_1(&end), of_lane_1(&fresh.end().expect("an end")));
    assert_eq!(found, expected);
}

/// Gradients end at the window: they are those of its loss as a function of the weights, the state that it begins with being a constant.
/// The slope along each tensor's gradient, by differences, is the norm of that gradient.
#[test]
fn gradients_are_those_of_the_window_alone() {
    let base = model(&|_, _| {});
    let len = 7;
    let start = state_after(&base, len);
    let mut fresh = vec![false; 2 * len];
    fresh[len + 3] = true;
    let second = || {
        let carry = Carry::new(start.clone(), fresh.clone());
        windows(len, len, Some(Arc::new(carry)))
    };
    let mut gradients = GradientSum::default();
    let output = base.forward(&config(), &second(), ForwardOptions::EVALUATION);
    gradients.add(&base, output.objective.backward());
    for name in [
        "emb.weight",
        "blocks.0.att.time_mix_k",
        "blocks.0.att.time_decay",
        "blocks.1.att.time_first",
        "blocks.1.att.key.weight",
        "blocks.1.ffn.time_mix_r",
        "blocks.2.ln1.weight",
        "head.weight",
    ] {
        let gradient = gradients.values(name).expect(name);
        let squares = gradient.iter().map(|g| f64::from(*g) * f64::from(*g));
        let norm = squares.sum::<f64>().sqrt();
        let at = |distance: f64| {
            let moved = model(&|of, values| {
                if of == name {
                    for (v, g) in values.iter_mut().zip(&gradient) {
                        *v += (distance * f64::from(*g) / norm) as f32;
                    }
                }
            });
            loss(&moved, &second())
        };
        let h = (0.02 / norm).min(0.02);
        let slope = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
        assert!(
            (slope - norm).abs() < 5e-3 * norm + 1e-4,
            "{name}: slope {slope}, norm {norm}"
        );
    }
}

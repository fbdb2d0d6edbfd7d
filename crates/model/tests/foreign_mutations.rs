//! Whatever bytes another project's file holds, importing it ends in a model or an error: no panic, no hang, and no memory beyond the file's size and a constant. A test file of its
//! own, because it counts every allocation. Needs nothing.
//!
//! 20,000 damaged files, or 1,000,000 with `PTBR_FULL=1`. Case n is a function of n: `PTBR_SEED=n` runs it alone.
#![allow(clippy::unwrap_used)]

#[path = "support/allocations.rs"]
mod allocations;
#[path = "support/pth.rs"]
mod pth_file;
mod support;

use std::fs;
use std::path::Path;

use allocations::peak_of;
use ptbr_model::{
    ExportContents, ExportFormat, ForeignModel, ImportError, ModelCard, TensorSource, WeightFormat,
    export_model,
};
use support::mutation::{Noise, mutate, mutate_safetensors_header, run_all, seeds};

/// What opening may hold beyond the files' size: twice what the undamaged one takes, and 64 KiB for messages.
fn constant(open: impl FnOnce() -> Result<ForeignModel, ImportError>) -> i64 {
    let (model, peak) = peak_of(open);
    model.unwrap();
    2 * peak + (64 << 10)
}

/// Whether `open` gives a model; one that it gives can be read to its end.
fn check(
    bytes: usize,
    constant: i64,
    open: impl FnOnce() -> Result<ForeignModel, ImportError>,
) -> bool {
    let (model, peak) = peak_of(open);
    let limit = bytes as i64 + constant;
    assert!(
        peak <= limit,
        "{peak} bytes were held for files of {bytes}; {limit} would be fine"
    );
    let Ok(model) = model else { return false };
    assert!(model.config().validate().is_ok());
    for spec in model.specs() {
        let mut count = 0;
        let mut sink = |piece: &[f32]| {
            assert!(piece.iter().all(|x| x.is_finite()));
            count += piece.len();
            Ok(())
        };
        model.write_f32(&spec.name, &mut sink).unwrap();
        assert_eq!(Some(count), spec.num_elements());
    }
    true
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fs::read(folder.join(name)).unwrap()
}

#[test]
fn pth_files() {
    let files = [
        "tiny-float32.pth",
        "tiny-float16.pth",
        "tiny-bfloat16.pth",
        "tiny-module-1.13.pth",
    ]
    .map(fixture);
    let parts = files.each_ref().map(|file| pth_file::entries(file));
    let open = |bytes| ForeignModel::from_rwkv_bytes("x.pth", bytes, 64);
    let constant = constant(|| open(files[0].clone()));
    let loaded = run_all(".pth files", &seeds(600_000), |seed| {
        let mut noise = Noise::new(seed);
        let which = noise.below(files.len());
        let bytes = match noise.below(4) {
            0 => mutate(files[which].clone(), &mut noise),
            // The directory stands at the end.
            1 => {
                let mut bytes = files[which].clone();
                let directory = bytes.len() - bytes.len().min(4096);
                let tail = mutate(bytes.split_off(directory), &mut noise);
                bytes.extend(tail);
                bytes
            }
            // A pickle that was changed, in an archive that is whole.
            _ => {
                let mut parts = parts[which].clone();
                let (_, pickle) = &mut parts[0];
                *pickle = mutate(std::mem::take(pickle), &mut noise);
                pth_file::archive(&parts)
            }
        };
        check(bytes.len(), constant, || open(bytes))
    });
    assert!(loaded > 0 || std::env::var_os("PTBR_SEED").is_some());
}

#[test]
fn safetensors_files() {
    let file = fixture("tiny-float32.safetensors");
    let open = |bytes| ForeignModel::from_rwkv_bytes("x.safetensors", bytes, 64);
    let constant = constant(|| open(file.clone()));
    let loaded = run_all("safetensors files", &seeds(250_000), |seed| {
        let mut noise = Noise::new(seed);
        let bytes = match noise.chance(2) {
            true => mutate(file.clone(), &mut noise),
            false => mutate_safetensors_header(&file, &mut noise),
        };
        check(bytes.len(), constant, || open(bytes))
    });
    assert!(loaded > 0 || std::env::var_os("PTBR_SEED").is_some());
}

#[test]
fn transformers_folders() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("hf");
    let config = support::config();
    let contents = ExportContents {
        config: &config,
        model: &support::tensors(&config.tensor_specs(), 3),
        tokenizer: None,
        card: ModelCard {
            name: "hf",
            license: None,
            data: None,
            model_id: "",
            training: None,
        },
    };
    export_model(&folder, ExportFormat::Hf, WeightFormat::F32, &contents).unwrap();
    let weights = fs::metadata(folder.join("model.safetensors"))
        .unwrap()
        .len() as usize;
    let index_path = folder.join("model.safetensors.index.json");
    let index = "{\"metadata\":{\"total_size\":1},\"weight_map\":{\"rwkv.ln_out.bias\":\"model.safetensors\"}}";
    let texts = [
        (
            folder.join("config.json"),
            fs::read(folder.join("config.json")).unwrap(),
        ),
        (index_path.clone(), index.as_bytes().to_vec()),
    ];
    fs::write(&index_path, index).unwrap();
    let open = || ForeignModel::open_hf(&folder);
    let constant = constant(open);
    let loaded = run_all("transformers folders", &seeds(150_000), |seed| {
        let mut noise = Noise::new(seed);
        let (path, original) = &texts[noise.below(texts.len())];
        let text = mutate(original.clone(), &mut noise);
        let bytes = weights + text.len();
        fs::write(path, text).unwrap();
        let loaded = check(bytes, constant, open);
        fs::write(path, original).unwrap();
        loaded
    });
    assert!(loaded > 0 || std::env::var_os("PTBR_SEED").is_some());
}

#[test]
fn a_hostile_pickle_holds_a_bounded_number_of_values() {
    // Two million empty tuples, each remembered under a number of its own where there is room.
    let mut pickle = b"\x80\x02".to_vec();
    for key in 0..1_000_000u32 {
        pickle.extend(b")r");
        pickle.extend(key.to_le_bytes());
    }
    let bytes = pth_file::pth(&pickle, &[]);
    let (model, peak) = peak_of(|| ForeignModel::from_rwkv_bytes("x.pth", bytes, 64));
    assert!(model.is_err());
    assert!(peak < 96 << 20, "{peak} bytes");
    // A tensor that is put under many names gives each a copy of its few dimensions, and no more.
    let storage = ("FloatStorage", "0", 1);
    let mut items = vec![
        pth_file::text("w"),
        pth_file::tensor(storage, 0, &[1; 8], &[1; 8]),
    ];
    items[1].extend(b"q\x00");
    for _ in 0..200_000 {
        items.push(b"X\x01\0\0\0wh\0".to_vec());
    }
    let pickle = pth_file::dictionary(&items);
    let bytes = pth_file::pth(&pickle, &[("0", vec![0; 4])]);
    let (model, peak) = peak_of(|| ForeignModel::from_rwkv_bytes("x.pth", bytes, 64));
    assert!(model.is_err());
    assert!(peak < 96 << 20, "{peak} bytes");
}

//! Small inputs, made from the sample inside the program.

use std::io::{Read, Write};
use std::path::Path;

use bzip2::Compression;
use bzip2::read::BzDecoder;
use bzip2::write::BzEncoder;
use ptbr_model::{
    ArchConfig, CheckpointContents, MemoryTensors, ModelFileInfo, RwkvConfig, TrainState,
    TrainingConfig, model_id, save_checkpoint, write_model_file,
};

use crate::program::run;

fn unpack(packed: &[u8]) -> String {
    let mut text = String::new();
    BzDecoder::new(packed)
        .read_to_string(&mut text)
        .expect("the sample unpacks");
    text
}

/// The first `documents` chapters of the literature sample, blank lines between them.
pub fn literature(documents: usize) -> String {
    let text = unpack(include_bytes!("../../native/assets/literature.txt.bz2"));
    let chapters: Vec<&str> = text.split("\n\n").take(documents).collect();
    chapters.join("\n\n") + "\n"
}

/// The demo's MediaWiki export, unpacked.
pub fn wiki_xml() -> String {
    unpack(include_bytes!("../../native/assets/demo.xml.bz2"))
}

/// Packs as dumps are packed: one bz2 stream for the header, one for every few pages, one for the end.
pub fn multistream(xml: &str, pages_per_stream: usize) -> Vec<u8> {
    let pages: Vec<&str> = xml.split_inclusive("</page>\n").collect();
    let (header, rest) = pages[0].split_at(pages[0].find("  <page>").expect("a page"));
    let mut streams = vec![header.to_owned()];
    let mut bodies: Vec<&str> = vec![rest];
    bodies.extend(&pages[1..]);
    streams.extend(bodies.chunks(pages_per_stream).map(|chunk| chunk.concat()));
    let mut packed = Vec::new();
    for stream in streams {
        packed.extend(pack(stream.as_bytes()));
    }
    packed
}

/// One bz2 stream.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = BzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// Writes `texto.txt`, `tokenizer.json` (512 tokens) and `texto.bin` into `folder`.
pub fn prepare(folder: &Path) {
    std::fs::write(folder.join("texto.txt"), literature(12)).expect("the text is written");
    run(
        folder,
        &[
            "train-tokenizer",
            "--input",
            "texto.txt",
            "--output",
            "tokenizer.json",
            "--vocab-size",
            "512",
        ],
    )
    .done();
    run(
        folder,
        &[
            "tokenize",
            "--input",
            "texto.txt",
            "--tokenizer",
            "tokenizer.json",
            "--output",
            "texto.bin",
        ],
    )
    .done();
}

/// An untrained model with the tokenizer of [`prepare`]: reproducible weights of the size that training starts from.
pub struct TinyModel {
    config: ArchConfig,
    weights: MemoryTensors,
    tokenizer_json: String,
}

impl TinyModel {
    /// One layer of 32 channels and 512 tokens.
    pub fn new(folder: &Path) -> Self {
        let tokenizer_json =
            std::fs::read_to_string(folder.join("tokenizer.json")).expect("prepared");
        let config = ArchConfig::Rwkv4(RwkvConfig::new(512, 32, 1, 64));
        let mut weights = MemoryTensors::new();
        let mut seed = 1u64;
        for spec in config.tensor_specs() {
            let count = spec.num_elements().expect("small");
            let values = (0..count).map(|_| {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5
            });
            let values = values.collect();
            weights.push(spec, values);
        }
        Self {
            config,
            weights,
            tokenizer_json,
        }
    }

    /// Puts `value` into the middle of a tensor.
    pub fn spoil(&mut self, tensor: &str, value: f32) {
        let values = self.weights.get_mut(tensor).expect("a tensor of the model");
        let middle = values.len() / 2;
        values[middle] = value;
    }

    /// Saves it as the checkpoint of `step` of a run in `output`.
    pub fn save_checkpoint(&self, output: &Path, step: u64) {
        let state = TrainState {
            step,
            config: TrainingConfig::default(),
            ..TrainState::default()
        };
        save_checkpoint(
            output,
            &CheckpointContents {
                config: &self.config,
                tokenizer_json: Some(&self.tokenizer_json),
                model: &self.weights,
                optimizer: None,
                state: &state,
            },
        )
        .expect("the checkpoint is saved");
    }

    /// Saves it as a model file.
    pub fn save_file(&self, path: &Path) {
        let id = model_id(&self.weights).expect("memory can be read");
        let info = ModelFileInfo::f32(self.config.clone(), Some(self.tokenizer_json.clone()), id);
        write_model_file(path, &info, &self.weights).expect("the file is saved");
    }
}

//! Weights of other projects: the official RWKV files (`.pth`, `.safetensors`) and the folders of transformers.
//!
//! Files from strangers are untrusted input. A `.pth` file is a zip archive (`zip`) with a pickle (`pickle`) that says where which tensor lies (`pth`); nothing of
//! it is run. Names and shapes then have to be those of an RWKV-4 model (`rwkv4`), in one file or, for transformers (`hf`), in several. What comes out is a
//! [`TensorSource`]: [`save_checkpoint`](crate::save_checkpoint) makes a model of it that every command takes.

mod error;
mod hf;
mod pickle;
mod pth;
mod rwkv4;
mod weights;
mod zip;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use crate::arch::ArchConfig;
use crate::hf_names;
use crate::tensor::{TensorSource, TensorSpec};
pub use error::ImportError;
use hf::HfConfig;
use weights::WeightFile;

/// Layer norm of every RWKV-4 model that was published.
const LAYER_NORM_EPS: f64 = 1e-5;

/// A model of another project, opened: every tensor of an RWKV-4 model is there under its official name, of its shape and finite. As a [`TensorSource`] it gives the
/// tensors of [`ArchConfig::tensor_specs`] in their order; numbers are converted to f32, which f16 and bf16 are a part of, as they are read.
#[derive(Debug)]
pub struct ForeignModel {
    config: ArchConfig,
    tokenizer_json: Option<String>,
    files: Vec<WeightFile>,
    places: BTreeMap<String, Place>,
}

/// Which tensor of which file.
#[derive(Debug, Clone)]
struct Place {
    file: usize,
    name: String,
}

/// A tensor by its official name, before it is known to belong to a model.
struct Located<'a> {
    place: Place,
    shape: &'a [usize],
}

impl ForeignModel {
    /// Opens weights with the official names: a `.pth` or `.safetensors` file. Sizes come from the shapes; the longest sequence seen in training, which no shape tells, is
    /// `max_seq_len`.
    ///
    /// Errors: not such a file, a pickle that asks for more than tensors, another version of RWKV, a tensor too few, too many, of another shape, not of f32, f16 or bf16, or
    /// not finite; sizes beyond what [`ArchConfig::validate`] allows.
    pub fn open_rwkv(path: &Path, max_seq_len: usize) -> Result<Self, ImportError> {
        Self::from_rwkv(WeightFile::open(path)?, max_seq_len)
    }

    /// The same for a file that is already in memory; `label` names it in messages.
    pub fn from_rwkv_bytes(
        label: &str,
        bytes: Vec<u8>,
        max_seq_len: usize,
    ) -> Result<Self, ImportError> {
        Self::from_rwkv(WeightFile::from_bytes(label, bytes)?, max_seq_len)
    }

    fn from_rwkv(file: WeightFile, max_seq_len: usize) -> Result<Self, ImportError> {
        let label = file.label().to_owned();
        let files = [file];
        let tensors = by_official_name(&files, |name| Some(name.to_owned()))?;
        let config = rwkv4::config(&label, &tensors, max_seq_len, LAYER_NORM_EPS)?;
        let places = places(tensors);
        Self::checked(config, None, files.into(), places)
    }

    /// Opens the folder of a transformers `RwkvForCausalLM`: `config.json`, `model.safetensors` or `pytorch_model.bin` (or their index of several files), `tokenizer.json`
    /// where there is one.
    ///
    /// Errors: as [`open_rwkv`](Self::open_rwkv), a `config.json` of another architecture, or one whose sizes are not those of the weights.
    pub fn open_hf(folder: &Path) -> Result<Self, ImportError> {
        let config_path = folder.join("config.json");
        let hf = HfConfig::parse(&config_path, &hf::read(&config_path)?)?;
        let files = hf::weights(folder)?;
        let label = folder.display().to_string();
        let mut tensors = by_official_name(&files, hf_names::to_official)?;
        // With tied embeddings the head is the embedding, and is not stored again.
        if hf.tie_word_embeddings
            && !tensors.contains_key("head.weight")
            && let Some(embedding) = tensors.get("emb.weight")
        {
            let (place, shape) = (embedding.place.clone(), embedding.shape);
            tensors.insert("head.weight".to_owned(), Located { place, shape });
        }
        let config = rwkv4::config(&label, &tensors, hf.context_length, hf.layer_norm_epsilon)?;
        hf.check(&config_path, &config)?;
        let places = places(tensors);
        Self::checked(config, hf::tokenizer(folder)?, files, places)
    }

    fn checked(
        config: ArchConfig,
        tokenizer_json: Option<String>,
        files: Vec<WeightFile>,
        places: BTreeMap<String, Place>,
    ) -> Result<Self, ImportError> {
        for Place { file, name } in places.values() {
            files[*file].check(name)?;
        }
        Ok(Self {
            config,
            tokenizer_json,
            files,
            places,
        })
    }

    /// The sizes.
    pub fn config(&self) -> &ArchConfig {
        &self.config
    }

    /// `tokenizer.json`, where the folder holds one. Nothing of it has been checked.
    pub fn tokenizer_json(&self) -> Option<&str> {
        self.tokenizer_json.as_deref()
    }

    /// The number formats that occur in the files: `F32`, `F16`, `BF16`.
    pub fn dtypes(&self) -> Vec<String> {
        let dtypes: BTreeSet<String> = self
            .places
            .values()
            .filter_map(|place| self.files[place.file].tensor(&place.name).ok())
            .map(|tensor| format!("{:?}", tensor.dtype))
            .collect();
        dtypes.into_iter().collect()
    }
}

impl TensorSource for ForeignModel {
    fn specs(&self) -> Vec<TensorSpec> {
        self.config.tensor_specs()
    }

    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        let place = self.places.get(name).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no tensor called `{name}`"),
            )
        })?;
        let tensor = self.files[place.file].tensor(&place.name);
        tensor.map_err(io::Error::other)?.write_f32(sink)
    }
}

/// The tensors of all files under the names that `official` gives them.
fn by_official_name(
    files: &[WeightFile],
    official: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, Located<'_>>, ImportError> {
    let mut tensors = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        for name in file.names() {
            let not_rwkv4 = |what: &str| ImportError::NotRwkv4 {
                file: file.label().to_owned(),
                reason: format!("the tensor `{name}` {what}"),
            };
            let official = official(name).ok_or_else(|| not_rwkv4("belongs to no such model"))?;
            let place = Place {
                file: index,
                name: name.to_owned(),
            };
            let shape = file.tensor(name)?.shape;
            if tensors.insert(official, Located { place, shape }).is_some() {
                return Err(not_rwkv4("occurs in several files"));
            }
        }
    }
    Ok(tensors)
}

fn places(tensors: BTreeMap<String, Located<'_>>) -> BTreeMap<String, Place> {
    let place = |(name, located): (String, Located<'_>)| (name, located.place);
    tensors.into_iter().map(place).collect()
}

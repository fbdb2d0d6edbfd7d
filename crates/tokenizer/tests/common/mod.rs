//! What the tests and the benchmark share: a small real text, texts made to break tokenizers, and the `tokenizers` crate as the reference.
//! Needs nothing outside the repository; the data folder named by `PTBR_DATA` is used when it is set.

// Each test file uses a part of this module, and in a test an unwrap is the assertion.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use ptbr_tokenizer::{BpeTokenizer, BpeTrainer, BpeTrainerConfig, PtBrNormalizer, SPECIAL_TOKENS};
use tokenizers::models::bpe::{BPE, BpeTrainer as PeerTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as Peer};

/// The opening of "O Alienista".
pub const MACHADO: &str = include_str!("../data/o_alienista.txt");

/// Texts at the edges of the pattern, of Unicode and of the special tokens.
pub const NASTY: &[&str] = &[
    "",
    " ",
    "   ",
    "\n",
    "\r\n\r\n",
    "\t x \u{a0}\u{a0}y\u{2003}\u{3000}z\u{85}",
    "'s 't 're 've 'm 'll 'd 'S ''s it's d'água x'",
    "disse-me, fê-lo-ia; guarda-chuva. R$ 1.234,56 (5ª feira, 3º) ½ ² Ⅷ ٣ 七",
    "[EOS][BOS] [PAD]\n[UNK]a[SEP] [EOS [[EOS]] EOS]",
    "<|endoftext|> </s> \u{120}\u{10A}\u{100}",
    "e\u{301}\u{323}a\u{303}o \u{212B}ngström \u{1E9B}\u{323} \u{F900} \u{2126} \u{387} \u{37E} \u{2000}x\u{2001}",
    "\u{1100}\u{1161}\u{11A8} \u{AC00}\u{11A8} \u{0344} \u{0958} \u{FB1D} \u{1D15E} \u{2ADC}",
    "日本語のテキスト。中文，한국어 ไทย हिन्दी عربى עברית",
    "😀👩‍👩‍👧‍👦🇧🇷 🏳️‍🌈 \u{1F600}\u{FE0F}\u{20E3}",
    "\0\u{1}\u{7f}\u{80}\u{9f}\u{ad}\u{feff}\u{200b}\u{200d}\u{fffd}\u{ffff}\u{10ffff}\u{e000}",
    "𝒳𝓎𝔷 𝟘𝟙𝟚 𐍈 \u{1E900}\u{1E943} \u{11F50}\u{1DF2A}",
    "————————————————————————————————————————————————————————————————————————————————————————",
    "................................................................................................................................",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "não não-não NÃO NãO Ção çÃO ÀÉÎÕÜ àéîõü ×÷ªº ŉ ǅ İi̇ ß ẞ ﬁ ς",
];

/// A tokenizer trained on [`MACHADO`].
pub fn small_tokenizer() -> BpeTokenizer {
    train(&[MACHADO], 700, 2)
}

/// Trains with this crate.
pub fn train(texts: &[&str], vocab_size: usize, min_frequency: u64) -> BpeTokenizer {
    let mut trainer = BpeTrainer::new(BpeTrainerConfig {
        vocab_size,
        min_frequency,
        normalizer: PtBrNormalizer::default(),
    });
    trainer.feed_batch(texts);
    trainer.train(&mut |_, _| {}).unwrap()
}

/// Trains with the reference, to the same settings.
pub fn train_peer(texts: &[&str], vocab_size: usize, min_frequency: u64) -> Peer {
    let mut peer = Peer::new(ModelWrapper::BPE(BPE::default()));
    peer.with_normalizer(Some(NFC)).unwrap();
    peer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    peer.with_decoder(Some(ByteLevel::new(false, true, true)));
    let trainer = PeerTrainer::builder()
        .show_progress(false)
        .vocab_size(vocab_size)
        .min_frequency(min_frequency)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(
            SPECIAL_TOKENS
                .map(|token| AddedToken::from(token, true))
                .to_vec(),
        )
        .build();
    peer.train(&mut TrainerWrapper::BpeTrainer(trainer), texts.iter())
        .unwrap();
    peer
}

/// The reference with the same file; special tokens in text are text for it too.
pub fn peer_of(json: &str) -> Peer {
    let mut peer: Peer = json.parse().unwrap();
    peer.set_encode_special_tokens(true);
    peer
}

/// The reference's ids.
pub fn peer_ids(peer: &Peer, text: &str) -> Vec<u32> {
    peer.encode_fast(text, false).unwrap().get_ids().to_vec()
}

/// The data folder, when there is one; its absence is said.
pub fn data_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("PTBR_DATA")
        .map(PathBuf::from)
        .filter(|folder| folder.is_dir());
    if folder.is_none() {
        println!("PTBR_DATA names no folder: only the small texts in the repository are tested");
    }
    folder
}

/// All files under a folder that hold UTF-8 text, sorted.
pub fn text_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

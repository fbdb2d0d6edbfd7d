//! Token files: written, read back, and refused when anything about them is wrong. Needs nothing but a temporary folder.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use ptbr_dataset::{DatasetError, HEADER_BYTES, MmapDataset, TokenizedDatasetWriter, index_path};

const TOKENIZER: [u8; 32] = [0x3f; 32];

fn write(path: &Path, vocab_size: usize, documents: &[&[u16]]) {
    let mut writer = TokenizedDatasetWriter::create(path, vocab_size, TOKENIZER).unwrap();
    for document in documents {
        writer.push_document(document).unwrap();
    }
    writer.finish().unwrap();
}

fn sample(root: &tempfile::TempDir) -> PathBuf {
    let path = root.path().join("train.bin");
    write(&path, 512, &[&[5, 6, 7, 3], &[], &[511, 0], &[8]]);
    path
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_written_is_read_back() {
    let root = tempfile::tempdir().unwrap();
    let path = sample(&root);
    let dataset = MmapDataset::open(&path).unwrap();
    assert_eq!(dataset.tokens(), [5, 6, 7, 3, 511, 0, 8]);
    assert_eq!(dataset.document_ends(), [4, 6, 7]);
    let header = dataset.header().unwrap();
    assert_eq!(
        (header.vocab_size, header.n_tokens, header.n_docs),
        (512, 7, 3)
    );
    assert_eq!(header.tokenizer_sha256, TOKENIZER);
    assert_eq!(dataset.data_sha256(), header.payload_sha256);
    dataset.verify_payload().unwrap();
    dataset.check_tokenizer(&TOKENIZER).unwrap();
    // After the header the tokens are plain little-endian u16.
    assert_eq!(fs::read(&path).unwrap()[HEADER_BYTES..][..4], [5, 0, 6, 0]);
    assert_eq!(names(root.path()), ["train.bin", "train.idx"]);
}

#[test]
fn the_same_documents_give_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let path = sample(&root);
    let bytes = (
        fs::read(&path).unwrap(),
        fs::read(index_path(&path)).unwrap(),
    );
    let again = root.path().join("again.bin");
    write(&again, 512, &[&[5, 6, 7, 3], &[511, 0], &[8]]);
    assert_eq!(
        (
            fs::read(&again).unwrap(),
            fs::read(index_path(&again)).unwrap()
        ),
        bytes
    );
}

#[test]
fn another_tokenizer_is_named() {
    let root = tempfile::tempdir().unwrap();
    let message = MmapDataset::open(&sample(&root))
        .unwrap()
        .check_tokenizer(&[0xab; 32])
        .unwrap_err()
        .to_string();
    assert!(message.contains("was made with the tokenizer 3f3f3f3f3f3f…, the one in use is abababababab…: tokenize the text again"), "{message}");
}

#[test]
fn tokens_outside_the_vocabulary_are_refused_when_written_and_when_read() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("x.bin");
    let mut writer = TokenizedDatasetWriter::create(&path, 10, TOKENIZER).unwrap();
    writer.push_document(&[1, 2]).unwrap();
    let message = writer.push_document(&[9, 10]).unwrap_err().to_string();
    assert!(
        message.ends_with("token 10 at position 3 is outside the vocabulary of 10"),
        "{message}"
    );
    for vocab_size in [0, 65_537] {
        let message = TokenizedDatasetWriter::create(&path, vocab_size, TOKENIZER)
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            format!(
                "`vocab_size` is {vocab_size}: must be from 1 to 65536 (token ids are 16 bits)"
            )
        );
    }
    write(&path, 65_536, &[&[0, u16::MAX]]);
    MmapDataset::open(&path)
        .unwrap()
        .check_vocabulary(65_536)
        .unwrap();
    let message = MmapDataset::open(&path)
        .unwrap()
        .check_vocabulary(65_535)
        .unwrap_err()
        .to_string();
    assert!(
        message.ends_with("token 65535 at position 1 is outside the vocabulary of 65535"),
        "{message}"
    );

    // A token changed on the disk, far into the file.
    let long = vec![3u16; 3_000_000];
    write(&path, 10, &[&long]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[HEADER_BYTES + 2 * 2_500_000] = 10;
    fs::write(&path, &bytes).unwrap();
    let message = MmapDataset::open(&path).unwrap_err().to_string();
    assert!(
        message.ends_with("token 10 at position 2500000 is outside the vocabulary of 10"),
        "{message}"
    );
    bytes[HEADER_BYTES + 2 * 2_500_000] = 9;
    fs::write(&path, &bytes).unwrap();
    let message = MmapDataset::open(&path)
        .unwrap()
        .verify_payload()
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("is damaged: its tokens were changed"),
        "{message}"
    );
}

#[test]
fn damaged_files_are_named() {
    let root = tempfile::tempdir().unwrap();
    let path = sample(&root);
    let whole = fs::read(&path).unwrap();
    let error = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let message = MmapDataset::open(&path).unwrap_err().to_string();
        assert!(message.contains("train.bin"), "{message}");
        message
    };
    assert!(error(b"").contains("there are no tokens; is the input text empty?"));
    assert!(
        error(b"\0\0\x01\0").contains("is not a token file (its first bytes are not PTBRTOKN)")
    );
    assert!(error(&whole[..100]).contains("it has 100 bytes, its header alone has 256"));
    assert!(error(&whole[..whole.len() - 1]).contains("its header announces 7 tokens"));
    assert!(
        error(&[&whole[..], &[0, 0]].concat())
            .contains("it has 272 bytes, its header announces 7 tokens")
    );
    let mut version = whole.clone();
    version[8] = 2;
    assert!(error(&version).contains("its version is 2, this program reads 1"));
    let mut count = whole.clone();
    count[24] = 8;
    assert!(error(&count).contains("its header was changed"));

    fs::write(&path, &whole).unwrap();
    let index = index_path(&path);
    let ends = fs::read(&index).unwrap();
    let error = |bytes: &[u8]| {
        fs::write(&index, bytes).unwrap();
        let message = MmapDataset::open(&path).unwrap_err().to_string();
        assert!(message.contains("train.idx"), "{message}");
        message
    };
    assert!(error(&ends[..16]).contains("it has 16 bytes, the token file announces 3 documents"));
    let mut other = ends.clone();
    other[0] = 3;
    assert!(error(&other).contains("it does not belong to the token file beside it"));
    fs::remove_file(&index).unwrap();
    assert!(
        MmapDataset::open(&path)
            .unwrap_err()
            .to_string()
            .contains("train.idx: No such file")
    );
    assert!(
        MmapDataset::open(&root.path().join("missing.bin"))
            .unwrap_err()
            .to_string()
            .contains("missing.bin: No such file")
    );
    assert!(
        MmapDataset::open(root.path())
            .unwrap_err()
            .to_string()
            .contains("not a file")
    );
}

#[test]
fn raw_files_are_plain_tokens() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("raw.bin");
    fs::write(&path, [1, 0, 2, 1]).unwrap();
    let dataset = MmapDataset::open_raw(&path).unwrap();
    assert_eq!(dataset.tokens(), [1, 258]);
    assert_eq!(dataset.document_ends(), [2]);
    assert!(dataset.header().is_none());
    dataset.check_tokenizer(&[1; 32]).unwrap();
    dataset.verify_payload().unwrap();
    assert!(dataset.check_vocabulary(258).is_err() && dataset.check_vocabulary(259).is_ok());
    fs::write(&path, [1, 0, 2]).unwrap();
    assert!(
        MmapDataset::open_raw(&path)
            .unwrap_err()
            .to_string()
            .contains("its 3 bytes are no whole number of 2-byte tokens")
    );
    assert!(
        MmapDataset::open_raw(&sample(&root))
            .unwrap_err()
            .to_string()
            .contains("it has a header and is not a raw file")
    );
}

#[test]
fn an_unfinished_or_impossible_output_leaves_the_old_one() {
    let root = tempfile::tempdir().unwrap();
    let path = sample(&root);
    let before = fs::read(&path).unwrap();
    let mut writer = TokenizedDatasetWriter::create(&path, 512, TOKENIZER).unwrap();
    writer.push_document(&[1]).unwrap();
    assert_eq!(writer.n_tokens(), 1);
    drop(writer);
    let empty = TokenizedDatasetWriter::create(&path, 512, TOKENIZER)
        .unwrap()
        .finish()
        .unwrap_err();
    assert!(matches!(empty, DatasetError::Empty { .. }));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(names(root.path()), ["train.bin", "train.idx"]);
    let unwritable = TokenizedDatasetWriter::create(&path.join("below/x.bin"), 512, TOKENIZER)
        .unwrap_err()
        .to_string();
    assert!(unwritable.starts_with("cannot create "), "{unwritable}");
    let index = TokenizedDatasetWriter::create(&root.path().join("x.idx"), 512, TOKENIZER)
        .unwrap_err()
        .to_string();
    assert!(index.contains("a token file cannot end in .idx"), "{index}");
    // A folder that is missing is made, and files are as readable as any other.
    let deep = root.path().join("a/b/x.bin");
    write(&deep, 512, &[&[1]]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let other = root.path().join("other");
        fs::write(&other, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&deep), mode(&other));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_documents_survive(documents in prop::collection::vec(prop::collection::vec(0u16..300, 0..50), 1..40)) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.bin");
        let mut writer = TokenizedDatasetWriter::create(&path, 300, TOKENIZER).unwrap();
        for document in &documents {
            writer.push_document(document).unwrap();
        }
        let all: Vec<u16> = documents.concat();
        match writer.finish() {
            Err(error) => prop_assert!(all.is_empty(), "{}", error),
            Ok(_) => {
                let dataset = MmapDataset::open(&path).unwrap();
                prop_assert_eq!(dataset.tokens(), &all);
                let mut start = 0;
                let kept = documents.iter().filter(|document| !document.is_empty());
                for (end, document) in dataset.document_ends().iter().zip(kept) {
                    prop_assert_eq!(&dataset.tokens()[start..*end as usize], document);
                    start = *end as usize;
                }
                prop_assert_eq!(start, all.len());
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(changes in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u8>()), 1..5), cut in 0usize..20) {
        let root = tempfile::tempdir().unwrap();
        let path = sample(&root);
        let mut files = [fs::read(&path).unwrap(), fs::read(index_path(&path)).unwrap()];
        for (which, at, byte) in changes {
            let bytes = &mut files[usize::from(which)];
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let shorter = files[0].len() - cut;
        files[0].truncate(shorter);
        fs::write(&path, &files[0]).unwrap();
        fs::write(index_path(&path), &files[1]).unwrap();
        if let Ok(dataset) = MmapDataset::open(&path) {
            prop_assert!(dataset.tokens().iter().all(|token| *token < 512));
            prop_assert_eq!(dataset.document_ends(), &[4, 6, 7]);
        }
        let _ = MmapDataset::open_raw(&path);
    }
}

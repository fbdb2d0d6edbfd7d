//! Text files as they lie on disk: plain, gzip (`.gz`) or zstd (`.zst`), read as one stream of bytes.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::error::CorpusError;

/// The name without the ending of a compression: `a.jsonl` for `a.jsonl.zst`.
pub(crate) fn plain_name(name: &str) -> &str {
    let ending = |end: &str| {
        let at = name.len().checked_sub(end.len())?;
        let tail = name.get(at..)?;
        tail.eq_ignore_ascii_case(end).then(|| &name[..at])
    };
    ending(".gz").or_else(|| ending(".zst")).unwrap_or(name)
}

/// Decompressed bytes of a file.
pub(crate) struct TextStream(Box<dyn Read + Send>);

impl fmt::Debug for TextStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TextStream")
    }
}

impl Read for TextStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

/// Opens a file; the ending of its name says how it is packed.
///
/// # Errors
/// When it cannot be opened. What is packed wrongly is an error of `read`.
pub(crate) fn open_text(path: &Path) -> Result<TextStream, CorpusError> {
    let file = File::open(path).map_err(CorpusError::io("open", path))?;
    let extension = path.extension().map(|e| e.to_ascii_lowercase());
    let reader: Box<dyn Read + Send> = match extension.as_ref().and_then(|e| e.to_str()) {
        Some("gz") => Box::new(MultiGzDecoder::new(file)),
        Some("zst") => Box::new(ZstdReader::new(file)),
        _ => Box::new(file),
    };
    Ok(TextStream(reader))
}

/// Frames of zstd, one after the other, as `zstd` and `cat` make them. The decoder refuses windows over 128 MiB, so memory is bounded.
struct ZstdReader<R: Read> {
    source: BufReader<R>,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: Read> ZstdReader<R> {
    fn new(source: R) -> Self {
        Self {
            source: BufReader::with_capacity(1 << 17, source),
            decoder: FrameDecoder::new(),
            in_frame: false,
        }
    }

    /// Begins the next frame; false at the end of the file.
    fn begin_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = (&mut self.source).take(u64::from(length));
                    io::copy(&mut skipped, &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
        Ok(false)
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        let (said, found) = (
            self.decoder.get_checksum_from_data(),
            self.decoder.get_calculated_checksum(),
        );
        if said.is_some() && said != found {
            return Err(io::Error::other(
                "the zstd data is damaged: its checksum differs",
            ));
        }
        Ok(())
    }
}

impl<R: Read> Read for ZstdReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buf);
            }
            if self.in_frame && self.decoder.is_finished() {
                self.end_frame()?;
            }
            if !self.in_frame && !self.begin_frame()? {
                return Ok(0);
            }
            if !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|error| io::Error::other(format!("the zstd data: {error}")))?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    fn read(name: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(name);
        std::fs::write(&path, bytes)?;
        let mut read = Vec::new();
        let mut stream = open_text(&path).map_err(|error| io::Error::other(error.to_string()))?;
        stream.read_to_end(&mut read)?;
        Ok(read)
    }

    fn gz(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zst(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    #[test]
    fn packed_files_are_read_to_the_end_of_their_last_part() {
        let first: Vec<u8> = (0..400_000u32)
            .flat_map(|n| (n % 251).to_le_bytes())
            .collect();
        let second = b"e mais um pouco\n".to_vec();
        let both = [first.clone(), second.clone()].concat();
        // A frame to be skipped stands between the two.
        let skip = [
            &0x184D_2A50u32.to_le_bytes()[..],
            &3u32.to_le_bytes(),
            b"abc",
        ]
        .concat();
        let parts = [zst(&first), skip, zst(&second)].concat();
        assert_eq!(read("a.jsonl.zst", &parts).unwrap(), both);
        assert_eq!(
            read("a.txt.GZ", &[gz(&first), gz(&second)].concat()).unwrap(),
            both
        );
        assert_eq!(read("a.txt", &both).unwrap(), both);
        assert_eq!(read("a.jsonl.zst", b"").unwrap(), b"");
    }

    #[test]
    fn damage_and_early_ends_are_errors() {
        let text = "uma frase que se repete e que não é curta. ".repeat(3000);
        for (name, whole) in [
            ("a.zst", zst(text.as_bytes())),
            ("a.gz", gz(text.as_bytes())),
        ] {
            for keep in [whole.len() / 2, whole.len() - 1, 5] {
                assert!(read(name, &whole[..keep]).is_err(), "{name} cut at {keep}");
            }
            assert!(read(name, b"isto nao vem de um compressor").is_err());
        }
    }

    #[test]
    fn names_lose_the_ending_of_their_compression() {
        for (name, plain) in [
            ("a.jsonl.gz", "a.jsonl"),
            ("b/a.txt.ZST", "b/a.txt"),
            ("a.txt", "a.txt"),
            (".gz", ""),
            ("ção", "ção"),
        ] {
            assert_eq!(plain_name(name), plain);
        }
    }
}

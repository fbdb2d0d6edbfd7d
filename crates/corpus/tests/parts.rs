//! A dump worked on in parts, and runs that were interrupted: the same bytes as in one go. Needs nothing.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ptbr_corpus::{CorpusError, Shard, WikiOptions, WikiSummary, merge_shards, process_wiki};

const PAGES: usize = 2500;

/// Pages of different lengths, with characters of two and three bytes everywhere, and some with bytes that are no UTF-8.
fn dump() -> Vec<u8> {
    let mut xml = b"<mediawiki xml:lang=\"pt\">\n<siteinfo><dbname>ptwiki</dbname><base>https://pt.wikipedia.org/wiki/P</base><namespaces><namespace key=\"14\">Almanaque</namespace></namespaces></siteinfo>\n".to_vec();
    for n in 0..PAGES {
        let ns = if n % 11 == 0 { 10 } else { 0 };
        write!(
            xml,
            "  <page>\n    <title>Município {n}</title>\n    <ns>{ns}</ns>\n    <id>{n}</id>\n    <revision>\n      <id>9{n}</id>\n      <text bytes=\"1\" xml:space=\"preserve\">"
        )
        .unwrap();
        for k in 0..1 + n % 7 {
            write!(
                xml,
                "A povoação número {} — «são» três léguas — cresceu desde {{{{dtlink|{}|5|1888}}}}, à beira d'água{{{{modelo {}}}}}. ",
                n * 31 + k * 7919,
                1 + k,
                n % 5
            )
            .unwrap();
        }
        if n % 97 == 5 {
            xml.extend_from_slice(b"Latim: \xE9 e \xFF\xFE\xE2\x80 fim do trecho.");
        }
        xml.extend_from_slice(b"[[Almanaque:X]]</text>\n    </revision>\n  </page>\n");
    }
    xml.extend_from_slice(b"</mediawiki>\n");
    xml
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(1));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The dump plain, as one bz2 stream of many blocks, and as many streams.
fn forms(folder: &Path) -> Vec<PathBuf> {
    let xml = dump();
    let multistream = xml.chunks(xml.len() / 9).flat_map(pack).collect();
    [
        ("plain.xml", xml.clone()),
        ("single.xml.bz2", pack(&xml)),
        ("multi.xml.bz2", multistream),
    ]
    .into_iter()
    .map(|(name, bytes): (_, Vec<u8>)| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    })
    .collect()
}

fn options(threads: usize) -> WikiOptions {
    WikiOptions {
        threads,
        count_templates: true,
        ..WikiOptions::default()
    }
}

fn whole(input: &Path, folder: &Path) -> (Vec<u8>, WikiSummary) {
    let summary = process_wiki(input, folder, &options(1), &mut |_| {}).unwrap();
    let bytes = std::fs::read(&summary.output).unwrap();
    assert!(bytes.len() > 1_000_000, "{} bytes", bytes.len());
    (bytes, summary)
}

fn counts(summary: &WikiSummary) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        (summary.pages_seen, summary.pages_kept, summary.dropped),
        (
            summary.text_bytes,
            summary.output_bytes,
            summary.invalid_utf8,
        ),
        (summary.invalid_utf8_pages, summary.templates_dropped),
        summary.templates.clone(),
    )
}

fn shard(index: u32, count: u32) -> Option<Shard> {
    Shard::new(index, count)
}

#[test]
fn shards_make_the_same_whole() {
    let folder = tempfile::tempdir().unwrap();
    for input in forms(folder.path()) {
        let (expected, one) = whole(&input, &folder.path().join("whole"));
        assert_eq!(one.pages_seen, PAGES as u64);
        assert!(one.templates.len() == 5 && one.templates[0].example.starts_with("{{modelo"));
        for count in [1, 2, 3, 7, 60] {
            let out = folder.path().join(format!("parts{count}"));
            // In any order, with any number of threads.
            for index in (0..count).rev() {
                let part = WikiOptions {
                    shard: shard(index, count),
                    ..options(1 + index as usize % 3)
                };
                process_wiki(&input, &out, &part, &mut |_| {}).unwrap();
            }
            let merged = merge_shards(&input, &out).unwrap();
            let name = format!("{} in {count}", input.display());
            assert!(std::fs::read(&merged.output).unwrap() == expected, "{name}");
            assert_eq!(counts(&merged), counts(&one), "{name}");
            assert_eq!(
                std::fs::read_dir(&out).unwrap().count(),
                1,
                "{name}: parts are left"
            );
            std::fs::remove_dir_all(out).unwrap();
        }
    }
}

#[test]
fn a_part_that_is_complete_is_not_done_again_and_others_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let input = forms(folder.path()).remove(1);
    let out = folder.path().join("out");
    let part = |index, count| WikiOptions {
        shard: shard(index, count),
        ..options(1)
    };
    let first = process_wiki(&input, &out, &part(1, 3), &mut |_| {}).unwrap();
    let mut calls = 0;
    let again = process_wiki(&input, &out, &part(1, 3), &mut |_| calls += 1).unwrap();
    assert_eq!((calls, counts(&again)), (0, counts(&first)));
    // With other options it is done again.
    let other = WikiOptions {
        min_chars: 7,
        ..part(1, 3)
    };
    process_wiki(&input, &out, &other, &mut |_| calls += 1).unwrap();
    assert!(calls > 0);

    let error = merge_shards(&input, &out).unwrap_err().to_string();
    assert!(error.contains("not complete: 0/3, 2/3"), "{error}");
    let error = process_wiki(&input, &out, &part(0, 4), &mut |_| {}).unwrap_err();
    assert!(
        error.to_string().contains("parts of 3 lie there"),
        "{error}"
    );
    for index in [0, 2] {
        process_wiki(&input, &out, &part(index, 3), &mut |_| {}).unwrap();
    }
    let error = merge_shards(&input, &out).unwrap_err().to_string();
    assert!(error.contains("other options"), "{error}");
    let gone = merge_shards(&input, &folder.path().join("nothing")).unwrap_err();
    assert!(gone.to_string().contains("there are none"), "{gone}");
}

/// Runs until the progress callback was called `calls` times, then dies as a killed process does: nothing is cleaned up. Gives the pages seen.
fn interrupted(input: &Path, out: &Path, options: &WikiOptions, calls: usize) -> u64 {
    let (mut left, mut seen) = (calls, 0);
    let died = catch_unwind(AssertUnwindSafe(|| {
        process_wiki(input, out, options, &mut |progress| {
            seen = progress.pages_seen;
            left -= 1;
            assert!(left > 0, "killed");
        })
    }));
    assert!(died.is_err(), "{calls} calls did not come");
    seen
}

#[test]
fn an_interrupted_run_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for input in forms(folder.path()) {
        let (expected, one) = whole(&input, &folder.path().join("whole"));
        for threads in [1, 3] {
            let out = folder.path().join(format!("out{threads}"));
            let mut before = 0;
            // Killed three times, each time further on.
            for calls in [1, 2, 2] {
                let seen = interrupted(&input, &out, &options(threads), calls);
                assert!(seen > before, "{}", input.display());
                before = seen;
            }
            let summary = process_wiki(&input, &out, &options(threads), &mut |_| {}).unwrap();
            // What was told to the callback had been written down: nothing of it is read again.
            assert_eq!(summary.pages_taken_over, before, "{}", input.display());
            assert!(std::fs::read(&summary.output).unwrap() == expected);
            assert_eq!(counts(&summary), counts(&one));
            let names: Vec<_> = std::fs::read_dir(&out)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(names.len(), 1, "{names:?}");
            std::fs::remove_dir_all(out).unwrap();
        }
    }
    std::panic::set_hook(quiet);
}

#[test]
fn what_a_crash_left_is_believed_only_where_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let input = forms(folder.path()).remove(1);
    let (expected, _) = whole(&input, &folder.path().join("whole"));
    let out = folder.path().join("out");
    let stem = out.join("single.jsonl");
    let beside = |ending: &str| PathBuf::from(format!("{}{ending}", stem.display()));
    let damages: [(&str, &dyn Fn()); 5] = [
        ("the output is shorter", &|| {
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(beside(".partial"))
                .unwrap();
            file.set_len(file.metadata().unwrap().len() - 10).unwrap();
        }),
        ("zeros where bytes should be", &|| {
            let mut bytes = std::fs::read(beside(".partial")).unwrap();
            let end = bytes.len();
            bytes[end - 5000..].fill(0);
            std::fs::write(beside(".partial"), bytes).unwrap();
        }),
        ("half a line in the journal", &|| {
            let bytes = std::fs::read(beside(".journal")).unwrap();
            std::fs::write(beside(".journal"), &bytes[..bytes.len() - 20]).unwrap();
        }),
        ("no journal", &|| {
            std::fs::remove_file(beside(".journal")).unwrap()
        }),
        ("a journal of something else", &|| {
            let text = std::fs::read_to_string(beside(".journal")).unwrap();
            let other = text.replace("\"min_chars\":100", "\"min_chars\":101");
            assert_ne!(text, other);
            std::fs::write(beside(".journal"), other).unwrap();
        }),
    ];
    for (name, damage) in damages {
        interrupted(&input, &out, &options(1), 3);
        damage();
        let summary = process_wiki(&input, &out, &options(1), &mut |_| {}).unwrap();
        assert!(
            std::fs::read(&summary.output).unwrap() == expected,
            "{name}"
        );
        let nothing_left = name.contains("no journal") || name.contains("else");
        assert_eq!(summary.pages_taken_over == 0, nothing_left, "{name}");
    }
}

#[test]
fn one_output_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let input = forms(folder.path()).remove(0);
    let out = folder.path().join("out");
    let mut second = None;
    process_wiki(&input, &out, &options(1), &mut |_| {
        if second.is_none() {
            second = Some(process_wiki(&input, &out, &options(1), &mut |_| {}));
        }
    })
    .unwrap();
    assert!(matches!(second, Some(Err(CorpusError::Busy { .. }))));
}

#[test]
fn a_damaged_dump_in_parts_says_so_and_is_not_complete() {
    let folder = tempfile::tempdir().unwrap();
    let input = forms(folder.path()).remove(1);
    let mut bytes = std::fs::read(&input).unwrap();
    let at = bytes.len() * 3 / 4;
    bytes[at] ^= 1;
    std::fs::write(&input, bytes).unwrap();
    let out = folder.path().join("out");
    let run = |index| {
        let part = WikiOptions {
            shard: shard(index, 2),
            ..options(2)
        };
        process_wiki(&input, &out, &part, &mut |_| {})
    };
    run(0).unwrap();
    assert!(matches!(run(1), Err(CorpusError::StoppedEarly { .. })));
    let error = merge_shards(&input, &out).unwrap_err().to_string();
    assert!(error.contains("not complete: 1/2"), "{error}");
}

#[test]
fn a_dump_whose_places_cannot_be_found_again_is_not_worked_on_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("wide.xml");
    let text = String::from_utf8_lossy(&dump()).into_owned();
    let wide: Vec<u8> = std::iter::once(0xFEFF)
        .chain(text.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    std::fs::write(&input, wide).unwrap();
    let out = folder.path().join("out");
    for index in 0..2 {
        let part = WikiOptions {
            shard: shard(index, 2),
            ..options(1)
        };
        let error = process_wiki(&input, &out, &part, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("in UTF-8"), "{error}");
    }
    let whole = process_wiki(&input, &out, &options(1), &mut |_| {}).unwrap();
    assert_eq!(whole.pages_seen, PAGES as u64);
}

#[test]
fn another_table_of_templates() {
    let folder = tempfile::tempdir().unwrap();
    let input = forms(folder.path()).remove(0);
    let table = folder.path().join("templates.toml");
    std::fs::write(
        &table,
        "[[text]]\nshows = \" e ao mar\"\ntemplates = [\"modelo 0\"]\n[[text]]\nshows = \"ontem\"\ntemplates = [\"dtlink\"]\n",
    )
    .unwrap();
    let with = WikiOptions {
        templates: Some(table.clone()),
        ..options(1)
    };
    let summary = process_wiki(&input, &folder.path().join("out"), &with, &mut |_| {}).unwrap();
    let text = std::fs::read_to_string(&summary.output).unwrap();
    assert!(text.contains("d'água e ao mar."));
    assert!(summary.templates.iter().any(|t| t.name == "modelo 1"));
    std::fs::write(
        &table,
        "[[text]]\nshows = \"{@tempo}\"\ntemplates = [\"x\"]\n",
    )
    .unwrap();
    let error = process_wiki(&input, &folder.path().join("out"), &with, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("templates.toml"), "{error}");
}

//! The C example, compiled with the system's C compiler against the generated header and linked with this library: it writes what the Rust API writes. Needs `cc`.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::{null, null_mut};
use std::time::SystemTime;

use ptbr_capi::*;
use ptbr_runtime::{GenerateOptions, Model, SamplerConfig, Session, generate};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn model() -> PathBuf {
    here("../../web/models/machado-micro.int4.safetensors")
}

/// The newest static library that cargo built of this crate: beside the test, with or without a hash in its name.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let deps = test.parent().unwrap();
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libptbr_capi") && name.ends_with(".a")
    };
    let age = |path: &PathBuf| {
        path.metadata()
            .and_then(|data| data.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let files = fs::read_dir(deps)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(is_ours)
        .max_by_key(age)
        .expect("the static library")
}

#[test]
fn the_c_example_writes_what_rust_writes() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("write");
    let compiled = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-g"])
        .arg(here("examples/write.c"))
        .arg("-I")
        .arg(here("include"))
        .arg(library())
        .args(["-lm", "-lpthread", "-ldl", "-o"])
        .arg(&program)
        .output()
        .expect("a C compiler called cc");
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let state = folder.path().join("state");
    let run = Command::new(&program)
        .args([
            model().as_os_str(),
            state.as_os_str(),
            "Era uma vez".as_ref(),
        ])
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let text = String::from_utf8(run.stdout).unwrap();

    let options = GenerateOptions {
        max_tokens: 30,
        sampler: SamplerConfig {
            temperature: 0.8,
            top_p: 0.9,
            ..SamplerConfig::default()
        },
        stop: Vec::new(),
        add_bos: false,
    };
    let mut session = Session::new(Model::load(&model()).unwrap());
    let mut expected = "Era uma vez".to_owned();
    let written = generate(&mut session, "Era uma vez", &options, &mut |piece| {
        expected.push_str(piece);
        ControlFlow::Continue(())
    })
    .unwrap();
    let position = session.position();
    expected.push_str(&format!(
        "\n[{} tokens]\n[going on after {position}]\n",
        written.tokens.len()
    ));
    let mut left = 5;
    generate(&mut session, "\nE depois", &options, &mut |piece| {
        expected.push_str(piece);
        left -= 1;
        match left {
            0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    })
    .unwrap();
    expected.push('\n');
    assert_eq!(text, expected);

    let failed = Command::new(&program)
        .args(["nowhere", "x", "y"])
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&failed.stderr).starts_with("error: nowhere"));
}

fn last_error() -> String {
    // SAFETY: the text of this thread, before its next call.
    let text = unsafe { CStr::from_ptr(ptbr_last_error()) };
    text.to_str().unwrap().to_owned()
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

unsafe extern "C" fn count(_: *const c_char, length: usize, user: *mut c_void) -> c_int {
    // SAFETY: the test passes a number.
    unsafe { *user.cast::<usize>() += length };
    0
}

#[test]
fn misuse_is_an_error_and_not_a_crash() {
    let path = c(model().to_str().unwrap());
    // SAFETY: texts end with a zero byte, handles come from the library or are null, each is used by this thread alone and freed once.
    unsafe {
        assert!(ptbr_model_open(null()).is_null());
        assert_eq!(last_error(), "the path is null");
        assert!(ptbr_model_open(c"\xff".as_ptr()).is_null());
        assert_eq!(last_error(), "the path is not UTF-8");
        assert!(ptbr_model_from_bytes([1u8; 9].as_ptr(), 9).is_null());
        assert!(
            last_error().contains("the model in memory"),
            "{}",
            last_error()
        );
        assert!(ptbr_model_from_bytes(null(), 9).is_null());
        assert!(ptbr_session_new(null()).is_null());
        assert!(ptbr_model_id(null()).is_null());
        ptbr_model_free(null_mut());
        ptbr_session_free(null_mut());
        assert_eq!(ptbr_session_reset(null_mut()), PtbrStatus::Error);
        assert_eq!(ptbr_session_position(null()), 0);

        let bytes = fs::read(model()).unwrap();
        let copied = ptbr_model_from_bytes(bytes.as_ptr(), bytes.len());
        let opened = ptbr_model_open(path.as_ptr());
        let id = CStr::from_ptr(ptbr_model_id(opened));
        assert_eq!(id, CStr::from_ptr(ptbr_model_id(copied)));
        assert_eq!(id.to_bytes().len(), 64);
        ptbr_model_free(copied);

        let session = ptbr_session_new(opened);
        ptbr_model_free(opened);
        let mut options = ptbr_options_default();
        options.max_tokens = 4;
        let (mut length, mut written) = (0usize, 0usize);
        let write = |options: &PtbrOptions,
                     prompt: *const c_char,
                     length: *mut usize,
                     written: *mut usize| {
            ptbr_write(
                session,
                prompt,
                options,
                Some(count),
                length.cast(),
                written,
            )
        };
        assert_eq!(
            write(&options, null(), &mut length, &mut written),
            PtbrStatus::Error
        );
        assert_eq!(
            write(&options, c"Era".as_ptr(), &mut length, &mut written),
            PtbrStatus::Ok
        );
        assert!(length > 0 && written == 4);
        assert!(ptbr_session_position(session) > 4);
        options.temperature = -1.0;
        assert_eq!(
            write(&options, c"Era".as_ptr(), &mut length, &mut written),
            PtbrStatus::Error
        );
        assert!(last_error().contains("temperature"), "{}", last_error());
        // Without options and without anybody to hear it.
        assert_eq!(
            ptbr_write(session, c"x".as_ptr(), null(), None, null_mut(), null_mut()),
            PtbrStatus::Ok
        );
        assert_eq!(
            ptbr_session_set_adapter(session, c"nowhere".as_ptr()),
            PtbrStatus::Error
        );
        let legal = c(here("../../web/models/adapters/legal").to_str().unwrap());
        assert_eq!(
            ptbr_session_set_adapter(session, legal.as_ptr()),
            PtbrStatus::Ok,
            "{}",
            last_error()
        );
        assert_eq!(ptbr_session_set_adapter(session, null()), PtbrStatus::Ok);
        assert_eq!(
            ptbr_session_load(session, c"nowhere".as_ptr()),
            PtbrStatus::Error
        );
        assert!(last_error().starts_with("nowhere: "), "{}", last_error());
        assert_eq!(
            ptbr_session_save(session, c"nowhere/x".as_ptr()),
            PtbrStatus::Error
        );
        assert_eq!(ptbr_session_reset(session), PtbrStatus::Ok);
        assert_eq!(ptbr_session_position(session), 0);
        ptbr_session_free(session);
        assert_eq!(
            CStr::from_ptr(ptbr_version()).to_str().unwrap(),
            env!("CARGO_PKG_VERSION")
        );
    }
}

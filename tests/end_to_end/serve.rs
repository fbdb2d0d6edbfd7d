//! `serve`: what a browser is given, and what is refused.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};

use ptbr_model::{hex, sha256};
use serde_json::Value;
use tempfile::tempdir;

use crate::adapters::save_adapter;
use crate::program::{command, run};
use crate::samples::{self, TinyModel};

/// A running server; it ends with the test.
struct Server {
    process: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has seen.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An answer: status, fields and body.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Server {
    fn start(folder: &Path, args: &[&str]) -> Self {
        let args = [&["serve", "--port", "0", "--web", "web"], args].concat();
        let mut process = command(folder, &args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = process.stdout.take().expect("a pipe");
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("http://").expect("an address");
        let address = address.trim_end_matches('/').to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        Self { process, address }
    }

    fn get(&self, path: &str, fields: &str) -> Answer {
        let host = &self.address;
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n"
        ))
    }

    fn send(&self, request: &str) -> Answer {
        let mut connection = TcpStream::connect(&self.address).expect("a connection");
        connection.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).expect("an answer");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let body = answer.split_off(end.expect("a head") + 4);
        let head = String::from_utf8(answer).expect("a head of text");
        let status = head.split(' ').nth(1).expect("a status");
        Answer {
            status: status.parse().expect("a number"),
            head,
            body,
        }
    }
}

/// A page, a model file with an adapter, and a file that is nobody's business.
fn prepare(at: &Path) {
    samples::prepare(at);
    TinyModel::new(at).save_file(&at.join("m 1.safetensors"));
    save_adapter(&at.join("adapters/legal"), None, 32);
    fs::create_dir_all(at.join("web/package")).expect("a folder");
    fs::write(at.join("web/index.html"), "<!doctype html>").expect("written");
    fs::write(at.join("web/package/index.js"), "export {};").expect("written");
}

#[test]
fn a_page_gets_its_files_the_model_and_the_adapters() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    prepare(at);
    let server = Server::start(at, &["--model", "m 1.safetensors"]);

    let page = server.get("/", "");
    assert_eq!(
        (page.status, &page.body[..]),
        (200, &b"<!doctype html>"[..])
    );
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.field("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe-inline"));
    assert_eq!(page.field("x-content-type-options"), Some("nosniff"));
    let script = server.get("/package/index.js?v=1", "");
    let media_type = script.field("content-type");
    assert_eq!(media_type, Some("text/javascript; charset=utf-8"));
    let etag = script.field("etag").expect("a tag").to_owned();
    let again = server.get("/package/index.js", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((again.status, again.body.len()), (304, 0));

    let list: Value = serde_json::from_slice(&server.get("/models/models.json", "").body)
        .expect("the list is JSON");
    let file = fs::read(at.join("m 1.safetensors")).expect("the model");
    assert_eq!(list[0]["file"], "m%201.safetensors");
    assert_eq!(list[0]["bytes"], file.len());
    assert_eq!(list[0]["sha256"], hex(&sha256(&file)));
    let adapter = &list[0]["adapters"][0];
    assert_eq!(adapter["name"], "legal");
    for (url, name) in [
        ("url_config", "adapter_config.json"),
        ("url_weights", "adapter_model.safetensors"),
    ] {
        let url = format!("/models/{}", adapter[url].as_str().expect("an address"));
        let expected = fs::read(at.join("adapters/legal").join(name)).expect("the file");
        assert!(server.get(&url, "").body == expected, "{url}");
    }

    // A file that is replaced is described anew.
    let mut other = TinyModel::new(at);
    other.spoil("head.weight", 0.25);
    other.save_file(&at.join("m 1.safetensors"));
    let list: Value = serde_json::from_slice(&server.get("/models/models.json", "").body)
        .expect("the list is JSON");
    let file = fs::read(at.join("m 1.safetensors")).expect("the model");
    assert_eq!(list[0]["sha256"], hex(&sha256(&file)));
}

#[test]
fn an_interrupted_download_goes_on() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    prepare(at);
    let server = Server::start(at, &["--model", "m 1.safetensors"]);
    let url = "/models/m%201.safetensors";
    let file = fs::read(at.join("m 1.safetensors")).expect("the model");
    let whole = server.get(url, "");
    assert_eq!(whole.field("accept-ranges"), Some("bytes"));
    assert!(whole.status == 200 && whole.body == file);

    let etag = whole.field("etag").expect("a tag");
    let rest = server.get(url, &format!("Range: bytes=1000-\r\nIf-Range: {etag}\r\n"));
    assert_eq!(rest.status, 206);
    let span = format!("bytes 1000-{}/{}", file.len() - 1, file.len());
    assert_eq!(rest.field("content-range"), Some(span.as_str()));
    assert!(rest.body == file[1000..]);
    // The download began with another file: it begins again.
    let other = server.get(url, "Range: bytes=1000-\r\nIf-Range: \"x\"\r\n");
    assert!(other.status == 200 && other.body == file);
    let behind = server.get(url, &format!("Range: bytes={}-\r\n", file.len()));
    assert_eq!((behind.status, behind.body.len()), (416, 0));
}

#[test]
fn what_is_not_of_the_page_is_refused() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    prepare(at);
    fs::write(at.join("web/.secret"), "x").expect("written");
    let server = Server::start(at, &["--model", "m 1.safetensors"]);
    for path in [
        "/../texto.txt",
        "/%2e%2e/texto.txt",
        "/package/..%2f..%2ftexto.txt",
        "/.secret",
        "/models/",
        "/models/../texto.txt",
        "/models/adapters/../../texto.txt",
        "/models/adapters/legal/../legal/adapter_config.json",
        "/models/adapters/legal/README.md",
    ] {
        assert_eq!(server.get(path, "").status, 404, "{path}");
    }
    for (request, status) in [
        (
            "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_owned(),
            421,
        ),
        ("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 405),
        ("\u{1}\u{2}\r\n\r\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1", "a".repeat(20_000)), 431),
    ] {
        assert_eq!(server.send(&request).status, status, "{request:.40}");
    }
    // And still answers.
    assert_eq!(server.get("/index.html", "").status, 200);
}

#[test]
fn what_cannot_be_served_is_explained() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    prepare(at);
    let serve = |args: &[&str]| run(at, &[&["serve"], args].concat());
    serve(&[]).fails_with(&["there is no folder target/web", "cargo xtask web"]);
    serve(&["--web", "adapters"]).fails_with(&["adapters holds no index.html", "cargo xtask web"]);
    serve(&["--web", "web", "--model", "web"]).fails_with(&["web is a folder", "quantize"]);
    serve(&["--web", "web", "--model", "texto.txt"]).fails_with(&["texto.txt"]);
    let model = ["--web", "web", "--model", "m 1.safetensors"];
    serve(&[&model[..], &["--adapter-dir", "nowhere"]].concat()).fails_with(&["no folder nowhere"]);
    let first = Server::start(at, &[]);
    let port = first.address.rsplit(':').next().expect("a port");
    serve(&["--web", "web", "--port", port]).fails_with(&["is taken", "--port"]);
}

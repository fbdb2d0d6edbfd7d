//! Writes an answer: status, the fields that keep a page to itself, and a text or a part of a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::time::UNIX_EPOCH;

use super::range::{Asked, asked};
use super::request::Request;

/// Sent with every answer. The page runs its own scripts and WebAssembly, talks to this server only, and stands in no frame of another. What it asks for beyond that
/// (Trusted Types) it says itself.
const POLICY: &str = "\
Content-Security-Policy: default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; style-src 'self'; \
img-src 'self' data:; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
X-Content-Type-Options: nosniff\r\n\
Referrer-Policy: no-referrer\r\n\
Cross-Origin-Opener-Policy: same-origin\r\n\
Cross-Origin-Resource-Policy: same-origin\r\n\
Permissions-Policy: camera=(), geolocation=(), microphone=()\r\n\
Cache-Control: no-cache\r\n";

/// What an answer carries.
pub struct Body {
    content: Content,
    media_type: &'static str,
    /// In quotes; changes with the content.
    etag: Option<String>,
}

enum Content {
    Text(Vec<u8>),
    File { file: File, length: u64 },
}

impl Body {
    /// A short text for people.
    pub fn text(text: &str) -> Self {
        Self {
            content: Content::Text(text.as_bytes().to_vec()),
            media_type: "text/plain; charset=utf-8",
            etag: None,
        }
    }

    /// A JSON document made for this request.
    pub fn json(text: String) -> Self {
        Self {
            content: Content::Text(text.into_bytes()),
            media_type: "application/json",
            etag: None,
        }
    }

    /// A file. Its ETag is its length and time of change: hashing a model of gigabytes for each request would take seconds.
    ///
    /// # Errors
    /// When it is no file that can be asked for its length.
    pub fn file(file: File, media_type: &'static str) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let changed = metadata.modified()?.duration_since(UNIX_EPOCH);
        let changed = changed.map_or(0, |time| time.as_nanos());
        Ok(Self {
            etag: Some(format!("\"{:x}-{changed:x}\"", metadata.len())),
            content: Content::File {
                file,
                length: metadata.len(),
            },
            media_type,
        })
    }

    fn length(&self) -> u64 {
        match &self.content {
            Content::Text(text) => text.len() as u64,
            Content::File { length, .. } => *length,
        }
    }
}

/// A status and a body, or a part of it.
pub struct Response {
    status: u16,
    body: Body,
    part: Range<u64>,
}

/// The answer to a request for something that is there: whole, in part, or the word that the browser's copy is still right.
pub fn found(body: Body, request: &Request) -> Response {
    let length = body.length();
    let is_this = |tags: &str| {
        let own = body.etag.as_deref();
        // `W/` allows for another encoding, which there is none of here.
        tags.split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || own == Some(tag))
    };
    if request.if_none_match.as_deref().is_some_and(is_this) {
        return Response {
            status: 304,
            body,
            part: 0..0,
        };
    }
    // A download that began with another file begins again.
    let same = request.if_range.as_deref().is_none_or(is_this);
    match asked(request.range.as_deref().filter(|_| same), length) {
        Asked::Everything => Response::new(200, body),
        Asked::Part(part) => Response {
            status: 206,
            body,
            part,
        },
        Asked::Nothing => Response {
            status: 416,
            body,
            part: 0..0,
        },
    }
}

impl Response {
    /// A whole body.
    pub fn new(status: u16, body: Body) -> Self {
        let part = 0..body.length();
        Self { status, body, part }
    }

    /// There is no such thing.
    pub fn not_found() -> Self {
        Self::new(404, Body::text("there is no such file here\n"))
    }

    /// It is there and cannot be read.
    pub fn failed(error: &anyhow::Error) -> Self {
        Self::new(500, Body::text(&format!("{error:#}\n")))
    }

    /// Writes the answer; `keep` says whether another may follow.
    ///
    /// # Errors
    /// When the connection breaks, or the file has become shorter since: its length is announced by then.
    pub fn write(mut self, out: &mut impl Write, keep: bool, head_only: bool) -> io::Result<()> {
        let length = self.part.end - self.part.start;
        write!(out, "HTTP/1.1 {} {}\r\n", self.status, reason(self.status))?;
        write!(out, "Content-Type: {}\r\n", self.body.media_type)?;
        if self.status != 304 {
            write!(out, "Content-Length: {length}\r\n")?;
        }
        if matches!(self.body.content, Content::File { .. }) {
            write!(out, "Accept-Ranges: bytes\r\n")?;
        }
        let total = self.body.length();
        match self.status {
            206 => {
                let (first, last) = (self.part.start, self.part.end - 1);
                write!(out, "Content-Range: bytes {first}-{last}/{total}\r\n")?;
            }
            405 => write!(out, "Allow: GET, HEAD\r\n")?,
            416 => write!(out, "Content-Range: bytes */{total}\r\n")?,
            _ => {}
        }
        if let Some(etag) = &self.body.etag {
            write!(out, "ETag: {etag}\r\n")?;
        }
        if !keep {
            write!(out, "Connection: close\r\n")?;
        }
        write!(out, "{POLICY}\r\n")?;
        if head_only {
            return Ok(());
        }
        match &mut self.body.content {
            Content::Text(text) => {
                let part = self.part.start as usize..self.part.end as usize;
                out.write_all(&text[part])
            }
            Content::File { file, .. } => {
                file.seek(SeekFrom::Start(self.part.start))?;
                let sent = io::copy(&mut file.take(length), out)?;
                match sent == length {
                    true => Ok(()),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        _ => "Internal Server Error",
    }
}

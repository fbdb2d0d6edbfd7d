//! Reads the head of an HTTP request.

use std::io::{self, Read};

/// Longest head: a browser's is about one kilobyte.
const MAX_HEAD: usize = 16 * 1024;
/// Most header fields.
const MAX_FIELDS: usize = 64;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Beginning with a slash, percent-decoded, without the query.
    pub path: String,
    /// HEAD: the answer without its body.
    pub head_only: bool,
    /// The connection stays open for another request.
    pub keep: bool,
    /// `Range`
    pub range: Option<String>,
    /// `If-Range`
    pub if_range: Option<String>,
    /// `If-None-Match`
    pub if_none_match: Option<String>,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Not HTTP/1, or with a body.
    Malformed,
    /// Longer than any browser's.
    TooLong,
    /// Neither GET nor HEAD.
    Method,
    /// Meant for another host.
    Host,
}

/// Reads the next request; `unread` holds what came behind the one before. `None` when the other side has closed.
///
/// # Errors
/// When the connection breaks or is silent for too long.
pub fn read(
    input: &mut impl Read,
    unread: &mut Vec<u8>,
) -> io::Result<Option<Result<Request, Problem>>> {
    loop {
        match parse(unread) {
            Ok(Some((length, request))) => {
                unread.drain(..length);
                return Ok(Some(Ok(request)));
            }
            Ok(None) if unread.len() >= MAX_HEAD => return Ok(Some(Err(Problem::TooLong))),
            Ok(None) => {}
            Err(problem) => return Ok(Some(Err(problem))),
        }
        let mut chunk = [0; 2048];
        match input.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Ok(count) => unread.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The request at the start of `bytes` with its length; `None` while some of it is missing.
fn parse(bytes: &[u8]) -> Result<Option<(usize, Request)>, Problem> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Problem::TooLong),
        Err(_) => return Err(Problem::Malformed),
    };
    let field = |name: &str| {
        let found = head
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name));
        found.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let head_only = match head.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Problem::Method),
    };
    // A body would be read as the next request.
    let has_body = field("transfer-encoding").is_some()
        || field("content-length").is_some_and(|length| length.trim() != "0");
    if has_body {
        return Err(Problem::Malformed);
    }
    if !field("host").is_some_and(is_this_computer) {
        return Err(Problem::Host);
    }
    let target = head.path.unwrap_or_default();
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let path = decode(path)
        .filter(|path| path.starts_with('/'))
        .ok_or(Problem::Malformed)?;
    let connection = field("connection").unwrap_or_default();
    let says = |word: &str| {
        connection
            .split(',')
            .any(|said| said.trim().eq_ignore_ascii_case(word))
    };
    let request = Request {
        path,
        head_only,
        keep: head.version == Some(1) && !says("close"),
        range: field("range").map(str::to_owned),
        if_range: field("if-range").map(str::to_owned),
        if_none_match: field("if-none-match").map(str::to_owned),
    };
    Ok(Some((length, request)))
}

/// Whether a `Host` names this computer by an address or name that no other site can own.
fn is_this_computer(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) => return false,
        None => host,
    };
    name == "127.0.0.1" || name.eq_ignore_ascii_case("localhost")
}

/// `%41` as `A`; `None` for what is no UTF-8 or a broken escape.
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(head: &str) -> Result<Option<Request>, Problem> {
        let head = head.replace('\n', "\r\n");
        parse(head.as_bytes()).map(|found| found.map(|(_, request)| request))
    }

    #[test]
    fn reads_what_a_browser_sends() {
        let head = "GET /models/a%20b%C3%A9.safetensors?x=1 HTTP/1.1\nHost: localhost:8080\nrange: bytes=5-\nIf-None-Match: \"x\"\n\n";
        let request = parsed(head).unwrap().unwrap();
        assert_eq!(request.path, "/models/a bé.safetensors");
        assert_eq!(request.range.as_deref(), Some("bytes=5-"));
        assert_eq!(request.if_none_match.as_deref(), Some("\"x\""));
        assert!(request.keep && !request.head_only);
        let closing = parsed("HEAD / HTTP/1.1\nHost: 127.0.0.1\nConnection: foo, Close\n\n");
        let closing = closing.unwrap().unwrap();
        assert!(!closing.keep && closing.head_only);
        assert!(
            !parsed("GET / HTTP/1.0\nHost: 127.0.0.1\n\n")
                .unwrap()
                .unwrap()
                .keep
        );
        assert_eq!(parsed("GET / HTTP/1.1\nHost: 127.0"), Ok(None));
    }

    #[test]
    fn refuses_the_rest() {
        for (head, problem) in [
            ("POST / HTTP/1.1\nHost: localhost\n\n", Problem::Method),
            ("GET / HTTP/1.1\n\n", Problem::Host),
            ("GET / HTTP/1.1\nHost: evil.example:8080\n\n", Problem::Host),
            (
                "GET / HTTP/1.1\nHost: 127.0.0.1.evil.example\n\n",
                Problem::Host,
            ),
            ("GET / HTTP/1.1\nHost: localhost:80@evil\n\n", Problem::Host),
            (
                "GET / HTTP/1.1\nHost: localhost\nContent-Length: 3\n\n",
                Problem::Malformed,
            ),
            (
                "GET / HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n\n",
                Problem::Malformed,
            ),
            ("GET /%zz HTTP/1.1\nHost: localhost\n\n", Problem::Malformed),
            ("GET /%ff HTTP/1.1\nHost: localhost\n\n", Problem::Malformed),
            ("GET /% HTTP/1.1\nHost: localhost\n\n", Problem::Malformed),
            (
                "GET http://localhost/ HTTP/1.1\nHost: localhost\n\n",
                Problem::Malformed,
            ),
            ("nonsense\n\n", Problem::Malformed),
        ] {
            assert_eq!(parsed(head), Err(problem), "{head}");
        }
    }

    #[test]
    fn a_head_may_come_in_pieces_and_two_at_once() {
        let two =
            "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\nGET /b HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let (first, second) = two.as_bytes().split_at(20);
        let mut input = first.chain(second);
        let mut unread = Vec::new();
        for path in ["/a", "/b"] {
            let request = read(&mut input, &mut unread).unwrap().unwrap().unwrap();
            assert_eq!(request.path, path);
        }
        assert!(read(&mut input, &mut unread).unwrap().is_none());

        let endless = io::repeat(b'a');
        let mut head = "GET /".as_bytes().chain(endless);
        let found = read(&mut head, &mut Vec::new()).unwrap().unwrap();
        assert_eq!(found, Err(Problem::TooLong));
    }
}

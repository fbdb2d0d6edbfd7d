//! The small web server behind `serve`: files and one model, on this computer only.
//!
//! It answers GET and HEAD for whoever sits at this computer, and nothing else: no uploads, no encryption, no runtime beneath it. One thread a connection, because a browser
//! opens six.

mod files;
mod models;
mod range;
mod request;
mod response;

use std::io::{self, BufWriter, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use files::WebFolder;
pub use models::ServedModel;
use request::{Problem, Request};
use response::{Body, Response};

/// Connections at a time; the next ones wait in the system's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may be silent before it is closed. A browser that is asked for space by the user reads nothing for that long.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is served.
pub struct Site {
    web: WebFolder,
    model: Option<ServedModel>,
}

impl Site {
    /// The files of a folder and, where there is one, a model with its adapters at `/models/`: then what the folder has there is hidden.
    ///
    /// # Errors
    /// When the folder is not there or holds no `index.html`.
    pub fn new(web: &std::path::Path, model: Option<ServedModel>) -> anyhow::Result<Self> {
        Ok(Self {
            web: WebFolder::open(web)?,
            model,
        })
    }

    fn answer(&self, request: &Request) -> Response {
        if let (Some(model), Some(name)) = (&self.model, request.path.strip_prefix("/models/")) {
            return match model.find(name) {
                Ok(Some(body)) => response::found(body, request),
                Ok(None) => Response::not_found(),
                Err(error) => Response::failed(&error),
            };
        }
        match self.web.find(&request.path) {
            Some(body) => response::found(body, request),
            None => Response::not_found(),
        }
    }
}

/// A socket that waits for connections.
pub struct Server {
    listener: TcpListener,
}

impl Server {
    /// Listens on 127.0.0.1, which other computers cannot reach; port 0 is any free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn bind(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        Ok(Self { listener })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not know.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the process ends.
    pub fn run(&self, site: Site) -> ! {
        let site = Arc::new(site);
        let open = Arc::new(AtomicUsize::new(0));
        loop {
            // A connection that fails before it is accepted, or no more file handles: neither ends the server.
            let connection = match self.listener.accept() {
                Ok((connection, _)) if open.load(Ordering::Acquire) < MAX_CONNECTIONS => connection,
                _ => {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
            };
            let (site, open) = (Arc::clone(&site), Arc::clone(&open));
            open.fetch_add(1, Ordering::AcqRel);
            std::thread::spawn(move || {
                // The other side went away: there is nobody to tell.
                let _ = converse(&site, &connection);
                open.fetch_sub(1, Ordering::AcqRel);
            });
        }
    }
}

/// Answers one request after another until either side has had enough.
fn converse(site: &Site, connection: &TcpStream) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    connection.set_nodelay(true)?;
    let mut input = connection;
    let mut output = BufWriter::with_capacity(64 * 1024, connection);
    let mut unread = Vec::new();
    loop {
        let (response, keep, head_only) = match request::read(&mut input, &mut unread)? {
            None => return Ok(()),
            Some(Ok(request)) => (site.answer(&request), request.keep, request.head_only),
            // Where the next request would begin is not known.
            Some(Err(problem)) => (refusal(problem), false, false),
        };
        response.write(&mut output, keep, head_only)?;
        output.flush()?;
        if !keep {
            return take_leave(connection);
        }
    }
}

/// Reads, for a moment, what the other side still sends: to close on unread bytes would reset the connection, and the answer would be lost with it.
fn take_leave(mut connection: &TcpStream) -> io::Result<()> {
    connection.shutdown(Shutdown::Write)?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    let unread = &mut Read::take(&mut connection, 256 * 1024);
    io::copy(unread, &mut io::sink())?;
    Ok(())
}

fn refusal(problem: Problem) -> Response {
    let (status, text) = match problem {
        Problem::Malformed => (400, "this is no HTTP request\n"),
        Problem::TooLong => (431, "the request is too long\n"),
        Problem::Method => (405, "only GET and HEAD are answered here\n"),
        // A page of some other site whose name was made to point here must not read the model.
        Problem::Host => (421, "this server answers to 127.0.0.1 and localhost\n"),
    };
    Response::new(status, Body::text(text))
}

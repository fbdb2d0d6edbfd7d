//! `serve`: the page for browsers, with a model.

use std::io;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use serde_json::json;

use crate::Outcome;
use crate::adapters;
use crate::options::Common;
use crate::server::{ServedModel, Server, Site};

/// Serve the built page and a model to browsers on this computer
///
/// The page runs the model in the browser, so that nothing that is written there leaves the computer. It is reached from this
/// computer only (127.0.0.1), until Ctrl-C. `cargo xtask web` in the source tree builds it.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  ptbr-slm serve --model model.safetensors --web target/web")]
pub struct Args {
    /// A model file; without one, the models that lie in the page's folder
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// The folder with the model's adapters [default: `adapters` beside the model]
    #[arg(long, value_name = "DIR", requires = "model")]
    pub adapter_dir: Option<PathBuf>,
    /// The folder of the built page
    #[arg(long, value_name = "DIR", default_value = "target/web")]
    pub web: PathBuf,
    /// Where the browser finds it on 127.0.0.1; 0 takes any free port
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub port: u16,
    #[command(flatten)]
    common: Common,
}

/// Runs the command; it ends with the process.
///
/// # Errors
/// When the page or the model is not there, or the port is taken.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let model = match &args.model {
        Some(path) => {
            let own = || adapters::folder_of(path);
            let folder = args.adapter_dir.clone().unwrap_or_else(own);
            if args.adapter_dir.is_some() && !folder.is_dir() {
                bail!("there is no folder {}", folder.display());
            }
            Some(ServedModel::open(path, folder)?)
        }
        None => None,
    };
    let site = Site::new(&args.web, model)?;
    let server = Server::bind(args.port).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "port {} is taken, perhaps by another `ptbr-slm serve`; give another --port, or 0 for any free one",
            args.port
        ),
        _ => anyhow::Error::new(error).context(format!("cannot listen on port {}", args.port)),
    })?;
    let url = format!("http://{}/", server.address()?);
    ui.line(&url)?;
    ui.note("open this address in a browser; Ctrl-C ends it");
    ui.result(&json!({ "url": url }))?;
    server.run(site)
}

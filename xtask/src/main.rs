//! `cargo xtask <task>`: the project's own chores, in Rust so that they run wherever the project builds.
//! Few dependencies on purpose: it is the first thing that a fresh clone compiles.

mod args;
mod browser;
mod command;
mod counts;
mod features;
mod full;
mod header;
mod licences;
mod machine;
mod mpi;
mod report;
mod shell_files;
mod test;
mod tools;
mod wasm;
mod web;

use std::process::ExitCode;

use args::Task;

fn main() -> ExitCode {
    let task = match args::parse(std::env::args().skip(1)) {
        Ok(task) => task,
        Err(message) => {
            eprintln!("error: {message}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    let outcome = match task {
        Task::Help => {
            println!("{}", args::USAGE);
            return ExitCode::SUCCESS;
        }
        Task::Test(options) => test::run(&options),
        Task::Licences => test::only("licences", licences::check),
        Task::Wasm32 => test::only("wasm32", wasm::check),
        Task::Web(options) => web::run(&options),
        Task::Mpi => mpi::run(),
        Task::Browser => browser::run(),
        Task::Header => header::write(),
        Task::ShellFiles => shell_files::run(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

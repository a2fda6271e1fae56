//! The `millrace` command: a table of contents.

mod args;
mod bug;
mod commands;
mod exit;
mod failure;
mod logging;
mod output;
mod settings;
mod stop;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use planner::Error;

use crate::args::Cli;
use crate::exit::ExitStatus;
use crate::output::Output;
use crate::output::progress::Screen;

/// How long the end of the process waits for threads that are busy.
const LEAVING: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    match Cli::try_parse_from(&words) {
        Ok(cli) => run(cli).into(),
        Err(error) => output::usage(&error, args::format_of_raw(&words)).into(),
    }
}

fn run(cli: Cli) -> ExitStatus {
    let out = Output::new(&cli.global);
    bug::caught(out, || {
        let screen = Screen::default();
        logging::start(&cli.global, screen.clone());
        // Two providers are linked, and TLS picks none by itself. Somebody else's choice is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => {
                let status = runtime.block_on(commands::run(cli, screen));
                // Nobody waits any more for what is still under way: a name that is looked up, a disk that does not answer.
                runtime.shutdown_timeout(LEAVING);
                status
            }
            Err(error) => {
                out.error(&Error::unreachable("cannot start threads").with_source(error));
                ExitStatus::Unreachable
            }
        }
    })
}

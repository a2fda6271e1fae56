//! Serves the test bed's S3 server for benchmarks and manual trials.
//!
//! `millrace-s3 [--port N] [--bucket NAME]… [--load-lake DIR]… [--latency-ms N] [--fail-percent N]`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    reason = "a tool for developers, whose output is its purpose"
)]

use std::{path::Path, time::Duration};

use millrace_tests::{
    lakes::Lake,
    s3::{Fault, Rule, S3Server, Target},
};

const USAGE: &str = "Serves the test bed's S3 server until it is killed, and prints the environment that its clients need.

Usage: millrace-s3 [--port N] [--bucket NAME]... [--load-lake DIR]... [--latency-ms N]
                   [--fail-percent N]   so many of 100 copies are answered with 503";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{USAGE}");
        return;
    }
    let pairs: Vec<(&str, &str)> =
        args.chunks(2).map(|pair| (pair[0].as_str(), pair.get(1).map_or("", String::as_str))).collect();
    let port = pairs.iter().find(|pair| pair.0 == "--port").map_or(0, |pair| pair.1.parse().unwrap());
    let server = S3Server::start_on(port);
    server.keep_log(false);
    for (name, value) in pairs {
        match name {
            "--port" => {}
            "--bucket" => server.create_bucket(value),
            "--load-lake" => Lake::open(Path::new(value)).load(&server),
            "--latency-ms" => server.latency(Duration::from_millis(value.parse().unwrap())),
            "--fail-percent" => {
                let fault = Fault::error(503, "ServiceUnavailable");
                server.fault(Rule::new(Target::on("CopyObject"), fault).chance(value.parse::<u64>().unwrap() * 10, 7));
            }
            other => {
                eprintln!("error: unknown argument {other}\n\n{USAGE}");
                std::process::exit(2);
            }
        }
    }
    for (name, value) in server.env() {
        println!("export {name}={value}");
    }
    loop {
        std::thread::park();
    }
}

//! `generate-lake FOLDER [--entries N] [--changes K] [--partitions P] [--empty]`: writes a lake of N entries with the branches `before`
//! and `main`, which differ by K objects: anywhere, or in P partitions. The objects themselves do not exist, or with
//! `--empty` are all empty.
#![expect(clippy::print_stdout, reason = "what it prints is its result")]

use std::path::Path;
use std::time::Instant;

use millrace_benches::lake::Failure;
use millrace_benches::{Shape, Spread, generate};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut folder = None;
    let mut shape = Shape { entries: 1_000_000, changes: 100, spread: Spread::Random, empty: false };
    while let Some(argument) = arguments.next() {
        let mut number =
            || -> Result<u64, Failure> { Ok(arguments.next().ok_or("a number is missing")?.replace('_', "").parse()?) };
        match argument.as_str() {
            "--entries" => shape.entries = number()?,
            "--changes" => shape.changes = number()?,
            "--empty" => shape.empty = true,
            "--partitions" => shape.spread = Spread::Partitions(number()?),
            other if folder.is_none() && !other.starts_with('-') => folder = Some(other.to_owned()),
            other => {
                return Err(format!(
                    "`{other}` is not known; usage: generate-lake FOLDER [--entries N] [--changes K] [--partitions P] [--empty]"
                )
                .into());
            }
        }
    }
    let folder = folder.ok_or("usage: generate-lake FOLDER [--entries N] [--changes K] [--partitions P] [--empty]")?;
    let started = Instant::now();
    let lake = generate(Path::new(&folder), shape).await?;
    let seconds = started.elapsed().as_secs_f64();
    println!("{}: {} entries in {} ranges, {} changes, {seconds:.1} s", folder, shape.entries, lake.ranges, shape.changes);
    println!("before {}\nmain   {}", lake.before, lake.after);
    Ok(())
}

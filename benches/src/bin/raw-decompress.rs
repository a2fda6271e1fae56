//! `raw-decompress FOLDER [BRANCH]`: the seconds that decompressing the ranges of a generated lake's branch `main` takes on one
//! core; with another branch, of those that are in one of the two only. Reading the files is not counted.
#![expect(clippy::print_stdout, reason = "what it prints is its result")]

use std::path::Path;
use std::sync::Arc;

use graveler::{Namespace, StoreFiles};
use millrace_benches::lake::Failure;
use millrace_benches::raw::decompress_lake;
use object_store::local::LocalFileSystem;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: raw-decompress FOLDER [BRANCH]")?;
    let before = arguments.next();
    let store = LocalFileSystem::new_with_prefix(&folder)?;
    let namespace = Namespace::new(Arc::new(StoreFiles::new(Arc::new(store), object_store::path::Path::default())));
    let done = decompress_lake(Path::new(&folder), namespace, before.as_deref()).await?;
    println!("{:.4} s, {} ranges, {} bytes stored, {} bytes", done.time.as_secs_f64(), done.ranges, done.stored, done.bytes);
    Ok(())
}

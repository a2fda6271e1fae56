#![allow(clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::print_stdout, missing_docs)]
use std::sync::Arc;
use std::time::Instant;
use graveler::{MetarangeWriter, StoreSink, WriteOptions, encode, Entry, Timestamp};
use object_store::local::LocalFileSystem;
fn main() {
    let n: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let dir = std::env::args().nth(2).unwrap();
    let parallel: usize = std::env::args().nth(3).map_or(4, |s| s.parse().unwrap());
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    rt.block_on(async move {
        let store = Arc::new(LocalFileSystem::new_with_prefix(dir).unwrap());
        let sink = Arc::new(StoreSink::new(store, Default::default()));
        let mut w = MetarangeWriter::new(sink, WriteOptions { parallel, ..WriteOptions::default() });
        let start = Instant::now();
        let mut data = Vec::new();
        let mut key = String::new();
        let mut entry = Entry { last_modified: Some(Timestamp { seconds: 1_795_198_864, nanos: 0 }), address_type: 1, content_type: "application/octet-stream".into(), ..Entry::default() };
        let mut rng: u64 = 1;
        use std::fmt::Write;
        let mut gen_time = std::time::Duration::ZERO;
        for i in 0..n {
            let _ = &mut gen_time;
            rng = rng.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            key.clear();
            write!(key, "tables/events/day={:05}/hour={:02}/part-{:08}.snappy.parquet", i / 10_000, (i / 417) % 24 + 24 * 0, i).unwrap();
            if i % 10_000 == 9999 { key = format!("tables/events/day={:05}/z_SUCCESS", i / 10_000); }
            key = key.replace("hour", "hour");
            entry.address.clear(); write!(entry.address, "data/gqk2c8t2o9k3cs5s1{:03}/{:016x}{:04x}", i / 50_000, rng, i as u16).unwrap();
            entry.e_tag.clear(); write!(entry.e_tag, "{:016x}{:016x}", rng.wrapping_mul(0x9E3779B97F4A7C15), rng.rotate_left(17).wrapping_mul(0xBF58476D1CE4E5B9)).unwrap();
            entry.size = (rng >> 40) as i64;
            data.clear();
            let id = encode::entry_record(&entry, &mut data);
            let k = format!("{:012}{}", i, &key);
            w.add(k.as_bytes(), &id, &data).await.unwrap();
        }
        let fed = start.elapsed();
        let t = w.finish().await.unwrap();
        let e = start.elapsed();
        println!("{n} entries in {e:?} (fed {fed:?}) = {:.0}/s; {} ranges, {} bytes, id {}", n as f64 / e.as_secs_f64(), t.metarange.ranges().len(), t.counts.bytes_written, t.metarange.id());
    });
}

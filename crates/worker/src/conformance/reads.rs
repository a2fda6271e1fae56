//! Keys, listing, reading.

use std::collections::BTreeMap;

use futures::TryStreamExt;

use super::{Check, Failure, bytes_of, done, ensure, is_there, pattern, read, refused, remove, write};
use crate::store::{FailureKind, GetOptions, Listed, PutOptions, Store, etag_md5, md5_of};

/// Every store holds these.
const PLAIN_KEYS: [&str; 9] =
    ["plain", "a/b/c", "per%cent", "que?ry=1", "plus+plus", "sp ace/ x ", "ünï/日本語", "hash#1", "quote\"'*[x]{y}~$!&()"];

/// A store holds these as they are, or refuses them by name.
const ODD_KEYS: [&str; 12] =
    ["a//b", "dir/", "a/../b", "a/./b", "..", ".", "/lead", "tab\there", "new\nline", "\u{1}ctl", "back\\slash", "per%2Fcent"];

pub(super) async fn keys(store: &dyn Store, at: &str) -> Check {
    for key in PLAIN_KEYS {
        let key = format!("{at}{key}");
        write(store, &key, key.clone()).await?;
        ensure!(read(store, &key).await? == key.as_bytes(), "{key:?} holds other bytes than were put");
    }
    let mut held = Vec::new();
    for odd in ODD_KEYS {
        let key = format!("{at}{odd}");
        match store.put(&key, key.clone().into(), &PutOptions::default()).await {
            Ok(_) => held.push(key),
            Err(error) => ensure!(error.kind == FailureKind::BadKey, "{key:?} was refused as {}: {error}", error.kind),
        }
    }
    for key in &held {
        ensure!(read(store, key).await? == key.as_bytes(), "{key:?} was changed: it holds other bytes than were put");
    }
    let listed = listed(store, at).await?;
    let expected = PLAIN_KEYS.len() + held.len();
    ensure!(listed.len() == expected, "{expected} keys were put, {} are listed: {:?}", listed.len(), listed.keys());
    for key in PLAIN_KEYS.iter().map(|key| format!("{at}{key}")).chain(held) {
        ensure!(listed.contains_key(&key), "{key:?} is not listed");
        remove(store, &key).await?;
    }
    Ok(())
}

pub(super) async fn missing(store: &dyn Store, at: &str) -> Check {
    let key = format!("{at}deep/nothing");
    refused(store.get(&key, &GetOptions::default()).await, FailureKind::NotFound, "getting what is not there")?;
    ensure!(!is_there(store, &key).await?, "what is not there has a head");
    ensure!(done(store.get_small(&key).await, "get_small")?.is_none(), "what is not there can be read");
    remove(store, &key).await?;
    remove(store, &key).await?;
    ensure!(listed(store, at).await?.is_empty(), "a listing of nothing is not empty");
    // Below an object nothing is.
    write(store, &format!("{at}file"), "x").await?;
    ensure!(!is_there(store, &format!("{at}file/below")).await?, "something is below an object");
    remove(store, &format!("{at}file/below")).await?;
    ensure!(is_there(store, &format!("{at}file")).await?, "deleting what is below an object deleted the object");
    remove(store, &format!("{at}file")).await
}

pub(super) async fn listing(store: &dyn Store, at: &str) -> Check {
    let keys = ["p/a", "p/ab", "p/b/c", "p/b/d/e", "pa", "q"];
    for (size, key) in keys.iter().enumerate() {
        write(store, &format!("{at}{key}"), vec![b'x'; size]).await?;
    }
    for (prefix, expected) in [
        ("", &keys[..]),
        ("p", &keys[..5]),
        ("p/", &keys[..4]),
        ("p/a", &keys[..2]),
        ("p/ab", &keys[1..2]),
        ("p/b", &keys[2..4]),
        ("p/b/d/", &keys[3..4]),
        ("p/x", &[]),
        ("x/", &[]),
    ] {
        let got: Vec<String> = listed(store, &format!("{at}{prefix}")).await?.into_keys().collect();
        let expected: Vec<String> = expected.iter().map(|key| format!("{at}{key}")).collect();
        ensure!(got == expected, "below {prefix:?} there are {expected:?}, listed are {got:?}");
    }
    let sizes = listed(store, at).await?;
    for (size, key) in keys.iter().enumerate() {
        let listed = sizes.get(&format!("{at}{key}")).map(|listed| listed.size);
        ensure!(listed == Some(size as u64), "{key} has {size} bytes, listed are {listed:?}");
        remove(store, &format!("{at}{key}")).await?;
    }
    Ok(())
}

pub(super) async fn pins(store: &dyn Store, at: &str) -> Check {
    let (key, bytes) = (format!("{at}object"), pattern(100_000));
    let put = write(store, &key, bytes.clone()).await?;
    let get = done(store.get(&key, &GetOptions::default()).await, "get")?;
    let Some(etag) = get.etag.clone() else { return Err("a get shows no etag".to_owned()) };
    ensure!(get.size == 100_000, "a get says {} bytes", get.size);
    if get.etag_is_md5 {
        ensure!(etag_md5(&etag) == Some(md5_of(&bytes)), "the etag {etag} is said to be the MD5, and is not");
    }
    ensure!(bytes_of(get).await? == bytes, "a get returns other bytes");
    let head = done(store.head(&key).await, "head")?.ok_or("no head")?;
    ensure!(head.size == 100_000 && head.etag.as_deref() == Some(etag.as_str()), "head and get differ: {head:?}, {etag}");

    let part = GetOptions { if_match: Some(etag.clone()), range: Some(10..1010), ..GetOptions::default() };
    let get = done(store.get(&key, &part).await, "a pinned range")?;
    ensure!(get.size == 100_000, "the size of a range's object is said to be {}", get.size);
    ensure!(bytes_of(get).await? == bytes[10..1010], "a range returns other bytes");

    let (small, small_etag) = done(store.get_small(&key).await, "get_small")?.ok_or("get_small finds nothing")?;
    ensure!(small == bytes, "get_small returns other bytes");
    ensure!(put.etag.as_deref() == Some(&small_etag), "put says etag {:?}, get_small {small_etag}", put.etag);

    write(store, &key, "another").await?;
    let pinned = GetOptions { if_match: Some(etag), ..GetOptions::default() };
    refused(store.get(&key, &pinned).await, FailureKind::Precondition, "getting what was overwritten")?;
    remove(store, &key).await
}

async fn listed(store: &dyn Store, prefix: &str) -> Result<BTreeMap<String, Listed>, Failure> {
    let all: Vec<Listed> = done(store.list(prefix).try_collect().await, &format!("listing {prefix:?}"))?;
    let count = all.len();
    let keys: BTreeMap<String, Listed> = all.into_iter().map(|listed| (listed.key.clone(), listed)).collect();
    ensure!(keys.len() == count, "a listing of {prefix:?} shows a key twice");
    Ok(keys)
}

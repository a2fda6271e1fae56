//! Conditions, attributes, uploads, copies.

use futures::future::join_all;

use super::{Check, body_of, done, ensure, is_there, pattern, read, refused, remove, write};
use crate::store::{
    Attributes, Condition, CopyOptions, Expected, FailureKind, GetOptions, Md5Sum, PutOptions, SourceObject, Store, StoreError,
    UploadOptions, md5_of,
};

fn said(content_type: &str, owner: &str) -> Attributes {
    let metadata = vec![("owner".to_owned(), owner.to_owned())];
    Attributes { content_type: Some(content_type.to_owned()), metadata, ..Attributes::default() }
}

async fn expect_said(store: &dyn Store, key: &str, expected: &Attributes) -> Check {
    let (can, head) = (store.capabilities(), done(store.head(key).await, "head")?.ok_or("no head")?);
    if can.content_type {
        ensure!(
            head.attributes.content_type == expected.content_type,
            "{key:?} has content type {:?}",
            head.attributes.content_type
        );
    }
    if can.user_metadata {
        ensure!(head.attributes.metadata == expected.metadata, "{key:?} has metadata {:?}", head.attributes.metadata);
    }
    Ok(())
}

pub(super) async fn attributes(store: &dyn Store, at: &str) -> Check {
    let key = format!("{at}object");
    let first = said("text/x-first; charset=utf-8", "crm team");
    let options = PutOptions { attributes: first.clone(), ..PutOptions::default() };
    done(store.put(&key, "1".into(), &options).await, "put")?;
    expect_said(store, &key, &first).await?;
    let second = said("text/x-second", "");
    let options = UploadOptions { attributes: second.clone(), ..UploadOptions::default() };
    done(store.upload(&key, body_of(b"22", 1, None), 2, &options).await, "upload")?;
    expect_said(store, &key, &second).await?;
    ensure!(read(store, &key).await? == b"22", "an upload did not replace the object");
    remove(store, &key).await
}

pub(super) async fn conditions(store: &dyn Store, at: &str) -> Check {
    if !store.capabilities().conditional_put {
        return Ok(());
    }
    let key = format!("{at}HEAD.json");
    let when = |condition: Condition| PutOptions { condition, ..PutOptions::default() };
    let absent = || when(Condition::Absent);
    let matching = |etag: &str| when(Condition::Match(etag.to_owned()));
    refused(store.put(&key, "0".into(), &matching("0123")).await, FailureKind::Precondition, "matching what is not there")?;
    ensure!(!is_there(store, &key).await?, "a refused put wrote");
    let first = done(store.put(&key, "1".into(), &absent()).await, "the first put")?.etag.ok_or("a put shows no etag")?;
    refused(store.put(&key, "2".into(), &absent()).await, FailureKind::Precondition, "a second first put")?;
    let second =
        done(store.put(&key, "2".into(), &matching(&first)).await, "a matching put")?.etag.ok_or("a put shows no etag")?;
    refused(store.put(&key, "3".into(), &matching(&first)).await, FailureKind::Precondition, "matching an old etag")?;
    let (bytes, etag) = done(store.get_small(&key).await, "get_small")?.ok_or("the object is gone")?;
    ensure!(bytes == "2" && etag == second, "after two puts there is {bytes:?} with etag {etag}, not `2` with {second}");
    done(store.put(&key, "4".into(), &matching(&etag)).await, "a put that matches what get_small said")?;
    remove(store, &key).await
}

/// Of many at once that all need the same state, one wins; without a condition all succeed and one stays, whole.
pub(super) async fn races(store: &dyn Store, at: &str) -> Check {
    let (one, any) = (format!("{at}one"), format!("{at}deep/any"));
    if store.capabilities().conditional_put {
        let options = PutOptions { condition: Condition::Absent, ..PutOptions::default() };
        let ends = join_all((0..8_u8).map(|n| store.put(&one, vec![n; 100].into(), &options))).await;
        let winners = ends.iter().filter(|end| end.is_ok()).count();
        ensure!(winners == 1, "{winners} of 8 first puts won");
        remove(store, &one).await?;
    }
    let options = PutOptions::default();
    let ends = join_all((0..8_u8).map(|n| store.put(&any, vec![n; 10_000].into(), &options))).await;
    for end in ends {
        done(end, "a put at the same time")?;
    }
    let bytes = read(store, &any).await?;
    ensure!(bytes.len() == 10_000 && bytes.iter().all(|b| *b == bytes[0]), "puts at the same time were mixed");
    // Deleting empties folders where there are any; writing there at the same time must not fail.
    for _ in 0..10 {
        let keys: Vec<String> = (0..8).map(|n| format!("{at}deep/folder/{n}")).collect();
        let (puts, deletes) = futures::join!(
            join_all(keys.iter().map(|key| store.put(key, "x".into(), &options))),
            join_all(keys.iter().map(|key| store.delete(key)))
        );
        puts.into_iter().try_for_each(|end| done(end, "a put beside deletes").map(drop))?;
        deletes.into_iter().try_for_each(|end| done(end, "a delete beside puts"))?;
        for key in keys {
            remove(store, &key).await?;
        }
    }
    remove(store, &any).await
}

pub(super) async fn checksums(store: &dyn Store, at: &str) -> Check {
    let key = format!("{at}object");
    let with = |md5: Md5Sum| PutOptions { content_md5: Some(md5), ..PutOptions::default() };
    let options = with(md5_of(b"other"));
    refused(store.put(&key, "bytes".into(), &options).await, FailureKind::Mismatch, "a put with a wrong MD5")?;
    ensure!(!is_there(store, &key).await?, "a put with a wrong MD5 wrote");
    done(store.put(&key, "bytes".into(), &with(md5_of(b"bytes"))).await, "a put with its MD5")?;
    remove(store, &key).await
}

pub(super) async fn uploads(store: &dyn Store, at: &str) -> Check {
    const MIB: usize = 1024 * 1024;
    let key = format!("{at}deep/object");
    let broken = StoreError::new(FailureKind::Unavailable, "the source broke off");
    // Whole, then in parts: the smallest that S3 takes, the last one short.
    for size in [0, 1, 100_000, 11 * MIB + 7] {
        let bytes = pattern(size);
        let options = UploadOptions {
            expect: Expected::md5(Some(md5_of(&bytes))),
            multipart_threshold: 5 * 1024 * 1024,
            part_size: 5 * 1024 * 1024,
            parts_in_flight: 2,
            ..UploadOptions::default()
        };
        let length = size as u64;
        let put =
            done(store.upload(&key, body_of(&bytes, 70_001, None), length, &options).await, &format!("uploading {size} bytes"))?;
        ensure!(put.bytes == length && put.sums.md5 == options.expect.md5, "an upload of {size} bytes says {put:?}");
        let get = done(store.get(&key, &GetOptions::default()).await, "get")?;
        ensure!(put.etag.is_none() || put.etag == get.etag, "an upload says etag {:?}, a get {:?}", put.etag, get.etag);
        ensure!(super::bytes_of(get).await? == bytes, "an upload of {size} bytes holds other bytes");
        remove(store, &key).await?;

        for (what, body, announced, md5, kind) in [
            ("a longer body", body_of(&pattern(size + 1), 70_001, None), length, None, FailureKind::Mismatch),
            ("a shorter body", body_of(&bytes, 70_001, None), length + 1, None, FailureKind::Mismatch),
            ("another MD5", body_of(&bytes, 70_001, None), length, Some([7; 16]), FailureKind::Mismatch),
            ("a broken body", body_of(&bytes, 70_001, Some(broken.clone())), length, None, FailureKind::Unavailable),
        ] {
            let options = UploadOptions { expect: Expected::md5(md5), ..options.clone() };
            let what = format!("an upload of {size} bytes with {what}");
            refused(store.upload(&key, body, announced, &options).await, kind, &what)?;
            ensure!(!is_there(store, &key).await?, "{what} left something visible");
        }
    }
    Ok(())
}

pub(super) async fn copies(store: &dyn Store, at: &str) -> Check {
    let (from, to) = (format!("{at}from+ü%/object"), format!("{at}to/object"));
    let first = said("text/x-first", "a");
    let options = PutOptions { attributes: first.clone(), ..PutOptions::default() };
    done(store.put(&from, "bytes".into(), &options).await, "put")?;
    let etag = done(store.head(&from).await, "head")?.ok_or("no head")?.etag;
    let source = |if_match: Option<String>| SourceObject { location: store.location().join(&from), if_match, size: 5 };
    if !store.capabilities().server_copy {
        let end = store.copy_from(&source(None), &to, &CopyOptions::default()).await;
        refused(end, FailureKind::Unsupported, "a copy where the store cannot copy")?;
        return remove(store, &from).await;
    }
    done(store.copy_from(&source(etag.clone()), &to, &CopyOptions::default()).await, "a pinned copy")?;
    ensure!(read(store, &to).await? == b"bytes", "a copy holds other bytes");
    expect_said(store, &to, &first).await?;
    let second = said("text/x-second", "b");
    let replace = CopyOptions { replace: Some(second.clone()), ..CopyOptions::default() };
    done(store.copy_from(&source(None), &to, &replace).await, "a copy with attributes")?;
    expect_said(store, &to, &second).await?;
    remove(store, &to).await?;
    let wrong = source(Some("0123456789abcdef0123456789abcdef".to_owned()));
    refused(store.copy_from(&wrong, &to, &replace).await, FailureKind::Precondition, "a copy with a wrong pin")?;
    remove(store, &from).await?;
    refused(store.copy_from(&source(None), &to, &replace).await, FailureKind::NotFound, "a copy of what is not there")?;
    ensure!(!is_there(store, &to).await?, "a failed copy left something");
    write(store, &to, "x").await?;
    remove(store, &to).await
}

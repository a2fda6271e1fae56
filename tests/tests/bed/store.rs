//! The S3 server holds what it is given, byte for byte, and says no where S3 does.

use std::collections::BTreeMap;

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{
        ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, MetadataDirective, ObjectIdentifier, StorageClass,
    },
};
use futures::future::join_all;
use millrace_tests::{
    s3::{Body, KeyPair, Object, Permission, S3Server, Target},
    tree::md5_hex,
};

use crate::sdk::{client, client_as, code, copy_source};

/// Keys that break tools.
pub(crate) fn odd_keys() -> Vec<String> {
    let plain = [
        "plain",
        "a//b",
        "a//",
        "dir/",
        "../up",
        "a/../b",
        "a/./b",
        ".",
        "..",
        "/lead",
        "//lead2",
        "per%cent",
        "per%2Fcent",
        "que?ry=1",
        "plus+plus",
        "sp ace/ x ",
        "ünï/日本語",
        "tab\there",
        "new\nline",
        "hash#f",
        "quote\"'",
        "back\\slash",
        "emoji-😀",
        "\u{1}ctl",
        "a b+c%d",
        "*[x]{y}~$!'()",
        "trail ",
        " lead",
        "<xml>&amp;",
        "e\u{301}",
        "é",
        "cr\rx",
    ];
    plain.iter().map(|key| (*key).to_owned()).chain(["k".repeat(1024)]).collect()
}

#[tokio::test]
async fn odd_keys_survive_put_copy_get_and_delete() {
    let server = S3Server::with_buckets(&["src", "dst"]);
    let client = client(&server);
    for key in odd_keys() {
        let body = ByteStream::from(key.as_bytes().to_vec());
        client.put_object().bucket("src").key(&key).body(body).send().await.unwrap();
        client.copy_object().bucket("dst").key(&key).copy_source(copy_source("src", &key)).send().await.unwrap();
        let got = client.get_object().bucket("dst").key(&key).send().await.unwrap();
        assert_eq!(got.body.collect().await.unwrap().into_bytes(), key.as_bytes());
    }
    let mut expected = odd_keys();
    expected.sort();
    assert_eq!(server.keys("src", ""), expected);
    assert_eq!(server.keys("dst", ""), expected);

    let (unwritable, writable): (Vec<_>, Vec<_>) = odd_keys().into_iter().partition(|key| key.contains('\u{1}'));
    let delete = |keys: &[String]| {
        let objects = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
        Delete::builder().set_objects(Some(objects.collect())).build().unwrap()
    };
    let answer = client.delete_objects().bucket("dst").delete(delete(&writable)).send().await.unwrap();
    assert_eq!(answer.errors(), []);
    assert_eq!(server.keys("dst", ""), unwritable);
    assert_eq!(code(client.delete_objects().bucket("dst").delete(delete(&unwritable)).send().await), "MalformedXML");
    client.delete_object().bucket("dst").key(&unwritable[0]).send().await.unwrap();
    assert_eq!(server.keys("dst", ""), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_conditional_puts_exactly_one_wins() {
    let server = S3Server::with_buckets(&["box"]);
    let client = client(&server);
    let puts = (0..32).map(|n: u8| {
        let put = client.put_object().bucket("box").key("lease").if_none_match("*").body(ByteStream::from(vec![n]));
        async move { put.send().await.is_ok() }
    });
    let won: Vec<_> = join_all(puts).await;
    let winner = won.iter().position(|won| *won).unwrap();
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    assert_eq!(server.get("box", "lease").unwrap().bytes().as_ref(), [u8::try_from(winner).unwrap()]);
    assert_eq!(server.log().writes().len(), 1);
    assert_eq!(server.log().filter(|op| op.code.as_deref() == Some("PreconditionFailed")).len(), 31);

    let etag = server.get("box", "lease").unwrap().etag.clone();
    let put = || client.put_object().bucket("box").key("lease").body(ByteStream::from_static(b"next"));
    put().if_match(format!("\"{etag}\"")).send().await.unwrap();
    assert_eq!(code(put().if_match(format!("\"{etag}\"")).send().await), "PreconditionFailed");
    let absent = client.put_object().bucket("box").key("absent").if_match("\"x\"").send().await;
    assert_eq!(code(absent), "NoSuchKey");
}

#[tokio::test]
async fn a_copy_across_buckets_takes_or_replaces_metadata() {
    let server = S3Server::with_buckets(&["dst"]);
    server.put("src", "k", "body", Some("text/plain"), &[("owner", "crm")]);
    let client = client(&server);
    let copy = |key: &str| client.copy_object().bucket("dst").key(key).copy_source("src/k");
    copy("same").send().await.unwrap();
    let replaced = copy("new").metadata_directive(MetadataDirective::Replace).content_type("text/x").metadata("a", "1");
    replaced.storage_class(StorageClass::GlacierIr).send().await.unwrap();

    let (same, new) = (server.get("dst", "same").unwrap(), server.get("dst", "new").unwrap());
    assert_eq!(same.content_type.as_deref(), Some("text/plain"));
    assert_eq!(same.metadata, BTreeMap::from([("owner".to_owned(), "crm".to_owned())]));
    assert_eq!(new.content_type.as_deref(), Some("text/x"));
    assert_eq!(new.metadata, BTreeMap::from([("a".to_owned(), "1".to_owned())]));
    assert_eq!(new.storage_class.as_deref(), Some("GLACIER_IR"));

    let pinned = copy("pinned").copy_source_if_match("\"0000\"").send().await;
    assert_eq!(code(pinned), "PreconditionFailed");
    let absent = client.copy_object().bucket("dst").key("x").copy_source("src/absent").send().await;
    assert_eq!(code(absent), "NoSuchKey");
    let log = server.log();
    assert_eq!(log.payload(), (0, log.iter().map(|op| op.sent).sum()));
    assert_eq!(log[0].source, Some(("src".to_owned(), "k".to_owned())));
}

#[tokio::test]
async fn a_multipart_object_has_a_composite_etag_and_its_copy_has_not() {
    let server = S3Server::with_buckets(&["box"]);
    server.put_object("box", "huge", Object::new(Body::sparse(6 << 30, 1)));
    let client = client(&server);
    let created = client.create_multipart_upload().bucket("box").key("k").content_type("a/b").send().await.unwrap();
    let id = created.upload_id().unwrap();
    assert_eq!(server.open_uploads().len(), 1);
    let first = vec![1_u8; 5 << 20];
    let part = client.upload_part().bucket("box").key("k").upload_id(id).part_number(1).body(first.clone().into());
    let one = part.send().await.unwrap().e_tag.unwrap();
    let part = client.upload_part_copy().bucket("box").key("k").upload_id(id).part_number(2).copy_source("box/huge");
    let two = part.copy_source_range("bytes=10-19").send().await.unwrap().copy_part_result.unwrap().e_tag.unwrap();
    let parts = [(1, &one), (2, &two)].map(|(n, etag)| CompletedPart::builder().part_number(n).e_tag(etag).build());
    let upload = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec())).build();
    let complete = || client.complete_multipart_upload().bucket("box").key("k").upload_id(id).multipart_upload(upload.clone());
    let etag = complete().send().await.unwrap().e_tag.unwrap();
    assert_eq!(code(complete().send().await), "NoSuchUpload");

    let digests = [one, two].map(|etag| hex::decode(etag.trim_matches('"')).unwrap()).concat();
    assert_eq!(etag, format!("\"{}-2\"", md5_hex(&digests)));
    let object = server.get("box", "k").unwrap();
    assert_eq!((object.body.len(), object.content_type.as_deref()), ((5 << 20) + 10, Some("a/b")));

    server.put_object("box", "two", Object::new("x").with_etag("0123-2"));
    client.copy_object().bucket("box").key("flat").copy_source("box/two").send().await.unwrap();
    assert_eq!(server.get("box", "flat").unwrap().etag, md5_hex(b"x"));
    let too_large = client.copy_object().bucket("box").key("no").copy_source("box/huge").send().await;
    assert_eq!(code(too_large), "InvalidRequest");
}

#[tokio::test]
async fn delete_objects_answers_for_every_key() {
    let server = S3Server::start();
    for key in ["a", "held/b", "c"] {
        server.put("box", key, key.to_owned(), None, &[]);
    }
    server.deny(Target::on("DeleteObject").prefix("held/"));
    let client = client(&server);
    let send = |keys: &[&str], quiet| {
        let objects = keys.iter().map(|key| ObjectIdentifier::builder().key(*key).build().unwrap());
        let delete = Delete::builder().set_objects(Some(objects.collect())).quiet(quiet).build().unwrap();
        client.delete_objects().bucket("box").delete(delete).send()
    };
    let answer = send(&["a", "held/b", "absent"], false).await.unwrap();
    let deleted: Vec<_> = answer.deleted().iter().map(|entry| entry.key().unwrap()).collect();
    assert_eq!(deleted, ["a", "absent"]);
    assert_eq!((answer.errors()[0].key(), answer.errors()[0].code()), (Some("held/b"), Some("AccessDenied")));
    let quiet = send(&["c"], true).await.unwrap();
    assert_eq!((quiet.deleted().len(), quiet.errors().len()), (0, 0));
    assert_eq!(server.keys("box", ""), ["held/b"]);
    let many: Vec<_> = (0..1001).map(|n| n.to_string()).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(code(send(&many, false).await), "MalformedXML");

    let stale = client.delete_object().bucket("box").key("held/b").if_match("\"0\"").send().await;
    assert_eq!(code(stale), "AccessDenied");
    server.clear_denials();
    let stale = client.delete_object().bucket("box").key("held/b").if_match("\"0\"").send().await;
    assert_eq!(code(stale), "PreconditionFailed");
    client.delete_object().bucket("box").key("absent").if_match("\"0\"").send().await.unwrap();
}

#[tokio::test]
async fn key_pairs_may_do_only_what_they_are_allowed() {
    let server = S3Server::start();
    server.put("lake", "k", "x", None, &[]);
    server.create_bucket("dest");
    server.add_key(KeyPair::new("writer", "secret").allow("dest", Permission::ReadWrite));
    server.add_key(KeyPair::new("reader", "secret").allow("lake", Permission::Read));
    let writer = client_as(&server, "writer", "secret");
    let reader = client_as(&server, "reader", "secret");
    reader.get_object().bucket("lake").key("k").send().await.unwrap();
    assert_eq!(code(reader.put_object().bucket("lake").key("k").send().await), "AccessDenied");
    assert_eq!(code(writer.copy_object().bucket("dest").key("k").copy_source("lake/k").send().await), "AccessDenied");
    let wrong = client_as(&server, "reader", "wrong");
    assert_eq!(code(wrong.get_object().bucket("lake").key("k").send().await), "SignatureDoesNotMatch");
    let unknown = client_as(&server, "nobody", "secret");
    assert_eq!(code(unknown.get_object().bucket("lake").key("k").send().await), "InvalidAccessKeyId");
    assert!(server.log().writes().is_empty());
}

#[tokio::test]
async fn ranges_conditions_and_headers_are_answered() {
    let server = S3Server::with_buckets(&["box"]);
    let client = client(&server);
    let put = client.put_object().bucket("box").key("k").body(ByteStream::from_static(b"0123456789"));
    let put = put.content_encoding("gzip").cache_control("no-store").tagging("t=1").content_disposition("inline");
    let etag = put.checksum_algorithm(ChecksumAlgorithm::Sha256).send().await.unwrap().e_tag.unwrap();
    let get = || client.get_object().bucket("box").key("k");
    let part = get().range("bytes=2-4").if_match(&etag).send().await.unwrap();
    assert_eq!(part.content_range(), Some("bytes 2-4/10"));
    assert_eq!(part.body.collect().await.unwrap().into_bytes().as_ref(), b"234");
    let tail = get().range("bytes=-3").send().await.unwrap();
    assert_eq!(tail.body.collect().await.unwrap().into_bytes().as_ref(), b"789");
    assert_eq!(code(get().range("bytes=10-").send().await), "InvalidRange");
    assert_eq!(code(get().if_match("\"x\"").send().await), "PreconditionFailed");
    let same = get().if_none_match(&etag).send().await.unwrap_err();
    assert_eq!(same.raw_response().unwrap().status().as_u16(), 304);

    let head = client.head_object().bucket("box").key("k").send().await.unwrap();
    assert_eq!((head.content_encoding(), head.cache_control()), (Some("gzip"), Some("no-store")));
    assert_eq!((head.content_disposition(), head.content_length()), (Some("inline"), Some(10)));
    assert_eq!(head.content_type(), Some("application/octet-stream"), "the client's own default");
    let tags = client.get_object_tagging().bucket("box").key("k").send().await.unwrap();
    assert_eq!((tags.tag_set()[0].key(), tags.tag_set()[0].value()), ("t", "1"));
    assert_eq!(server.get("box", "k").unwrap().checksums.keys().collect::<Vec<_>>(), ["x-amz-checksum-sha256"]);

    let lie = client.put_object().bucket("box").key("lie").body(ByteStream::from_static(b"x"));
    assert_eq!(code(lie.checksum_sha256("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").send().await), "BadDigest");
    let lie = client.put_object().bucket("box").key("lie").body(ByteStream::from_static(b"x"));
    assert_eq!(code(lie.content_md5("AAAAAAAAAAAAAAAAAAAAAA==").send().await), "BadDigest");
    assert_eq!(server.keys("box", ""), ["k"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_the_order_of_effects_and_watches_see_every_one_of_them() {
    let server = S3Server::with_buckets(&["box"]);
    server.watch(|op, buckets| match buckets.get("box", &op.key) {
        Some(object) if Some(&object.etag) == op.etag.as_ref() => Ok(()),
        found => Err(format!("{:?} is not {found:?}", op.etag)),
    });
    let client = client(&server);
    let puts = (0..50_u8).map(|n| client.put_object().bucket("box").key("k").body(ByteStream::from(vec![n])).send());
    join_all(puts).await;
    let log = server.log();
    assert_eq!(log.len(), 50);
    assert!(log.is_sorted_by_key(|op| op.seq));
    assert!(log.iter().all(|op| op.ended.is_some() && op.status == 200 && op.received == 1));
    assert_eq!(log.last().unwrap().etag, Some(server.get("box", "k").unwrap().etag.clone()));
    server.assert_no_violations();
    server.watch(|_, buckets| {
        assert!(buckets.get("box", "k").is_some(), "k is gone");
        Ok(())
    });
    client.delete_object().bucket("box").key("k").send().await.unwrap();
    let violations = server.violations();
    assert!(violations.iter().any(|text| text.ends_with("k is gone")), "{violations:?}");
    assert_eq!(server.log().of("DeleteObject").len(), 1);
    server.clear_log();
    assert!(server.log().is_empty());
}

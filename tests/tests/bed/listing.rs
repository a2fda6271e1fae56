//! Listings are in byte order and come in pages.

use aws_sdk_s3::types::EncodingType;
use millrace_tests::s3::S3Server;

use super::store::odd_keys;
use crate::sdk::client;

fn filled(keys: &[String]) -> S3Server {
    let server = S3Server::start();
    for key in keys {
        server.put("box", key, "x", None, &[]);
    }
    server
}

#[tokio::test]
async fn pages_hold_every_key_once_in_byte_order() {
    let keys: Vec<String> = (0..2500).map(|n| format!("k/{n:04}")).collect();
    let server = filled(&keys);
    let mut pages = client(&server).list_objects_v2().bucket("box").prefix("k/").into_paginator().send();
    let (mut seen, mut sizes) = (Vec::new(), Vec::new());
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        sizes.push(page.key_count().unwrap());
        seen.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
    }
    assert_eq!(seen, keys);
    assert_eq!(sizes, [1000, 1000, 500]);
    let later = client(&server).list_objects_v2().bucket("box").start_after("k/2497").send().await.unwrap();
    assert_eq!(later.contents().len(), 2);
}

#[tokio::test]
async fn a_delimiter_folds_and_counts_each_prefix_once() {
    let keys = ["a", "d/1", "d/2", "e/1", "f"].map(str::to_owned);
    let server = filled(&keys);
    let mut pages = client(&server).list_objects_v2().bucket("box").delimiter("/").max_keys(1).into_paginator().send();
    let mut seen = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        seen.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
        seen.extend(page.common_prefixes().iter().map(|prefix| prefix.prefix().unwrap().to_owned()));
    }
    assert_eq!(seen, ["a", "d/", "e/", "f"]);
}

#[tokio::test]
async fn encoded_listings_hold_every_odd_key() {
    let mut keys = odd_keys();
    keys.sort();
    let server = filled(&keys);
    let listing = client(&server).list_objects_v2().bucket("box").encoding_type(EncodingType::Url).send().await.unwrap();
    let decode = |key: &str| {
        let spaced = key.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8().unwrap().into_owned()
    };
    let seen: Vec<_> = listing.contents().iter().map(|object| decode(object.key().unwrap())).collect();
    assert_eq!(seen, keys);
}

#[tokio::test]
async fn open_uploads_and_their_parts_are_listed() {
    let server = filled(&["x".to_owned()]);
    let client = client(&server);
    for key in ["p/1", "p/2", "q/1"] {
        let upload = client.create_multipart_upload().bucket("box").key(key).send().await.unwrap();
        let part = client.upload_part().bucket("box").key(key).part_number(7).upload_id(upload.upload_id().unwrap());
        part.body(vec![0; 3].into()).send().await.unwrap();
    }
    let listing = client.list_multipart_uploads().bucket("box").prefix("p/").send().await.unwrap();
    let keys: Vec<_> = listing.uploads().iter().map(|upload| upload.key().unwrap()).collect();
    assert_eq!(keys, ["p/1", "p/2"]);
    let id = listing.uploads()[0].upload_id().unwrap();
    let parts = client.list_parts().bucket("box").key("p/1").upload_id(id).send().await.unwrap();
    assert_eq!((parts.parts()[0].part_number(), parts.parts()[0].size()), (Some(7), Some(3)));
    client.abort_multipart_upload().bucket("box").key("p/1").upload_id(id).send().await.unwrap();
    assert_eq!(server.open_uploads().len(), 2);
}

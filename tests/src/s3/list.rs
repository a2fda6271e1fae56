//! Listings: of objects in byte order of their keys, of multipart uploads, of parts, of buckets.

use std::ops::Bound;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        Bucket as BucketEntry, CommonPrefix, CreateBucketInput, CreateBucketOutput, ETag, EncodingType, GetBucketLocationInput,
        GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput, ListBucketsOutput,
        ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
        ListObjectsV2Output, ListPartsInput, ListPartsOutput, MultipartUpload, Object as ObjectEntry, ObjectStorageClass,
        Part as PartEntry, Timestamp,
    },
    s3_error,
};

use super::{
    call::Call,
    object::{Bucket, Object},
    state::Shared,
};

/// A page of a listing.
struct Page {
    objects: Vec<ObjectEntry>,
    prefixes: Vec<String>,
    /// The last key or prefix on this page, when there is more behind it.
    last: Option<String>,
}

/// Fills a page with what comes after `after`.
fn fill(bucket: &Bucket, prefix: &str, delimiter: &str, after: &str, limit: usize) -> Page {
    let mut page = Page { objects: Vec::new(), prefixes: Vec::new(), last: None };
    let mut last = String::new();
    let start = if after.is_empty() || after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
    for (key, object) in bucket.range::<str, _>((start, Bound::Unbounded)) {
        if !key.starts_with(prefix) {
            break;
        }
        let rest = &key[prefix.len()..];
        let folded = rest.find(delimiter).filter(|_| !delimiter.is_empty());
        let folded = folded.map(|at| &key[..prefix.len() + at + delimiter.len()]);
        // What is behind a folded prefix was told with it, on this page or on the one before.
        if folded.is_some_and(|folded| page.prefixes.last().is_some_and(|seen| seen == folded) || after == folded) {
            continue;
        }
        if page.objects.len() + page.prefixes.len() == limit {
            page.last = Some(last);
            break;
        }
        if let Some(folded) = folded {
            folded.clone_into(&mut last);
            page.prefixes.push(folded.to_owned());
        } else {
            key.clone_into(&mut last);
            page.objects.push(entry(key, object));
        }
    }
    page
}

fn entry(key: &str, object: &Object) -> ObjectEntry {
    let class = object.storage_class.clone().unwrap_or_else(|| ObjectStorageClass::STANDARD.to_owned());
    ObjectEntry {
        key: Some(key.to_owned()),
        size: i64::try_from(object.body.len()).ok(),
        e_tag: Some(ETag::Strong(object.etag.clone())),
        last_modified: Some(Timestamp::from(object.modified)),
        storage_class: Some(class.into()),
        ..Default::default()
    }
}

/// Encodes names where the request asked for it, as S3 does: a blank becomes `+`, slashes stay.
struct Names(bool);

impl Names {
    fn of(encoding: Option<&EncodingType>) -> Self {
        Self(encoding.is_some_and(|encoding| encoding.as_str() == EncodingType::URL))
    }

    fn encode(&self, name: &str) -> String {
        if !self.0 {
            return name.to_owned();
        }
        let piece = |byte: u8| match byte {
            b' ' => "+".to_owned(),
            b'-' | b'_' | b'.' | b'*' | b'/' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        name.bytes().map(piece).collect()
    }

    fn objects(&self, page: &mut Page) -> Vec<ObjectEntry> {
        let mut objects = std::mem::take(&mut page.objects);
        for object in &mut objects {
            object.key = object.key.as_deref().map(|key| self.encode(key));
        }
        objects
    }

    fn prefixes(&self, page: &Page) -> Vec<CommonPrefix> {
        page.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(self.encode(prefix)) }).collect()
    }
}

fn limit(asked: Option<i32>) -> S3Result<usize> {
    match asked.unwrap_or(1000) {
        negative if negative < 0 => Err(s3_error!(InvalidArgument, "max-keys {negative}")),
        many => Ok(usize::try_from(many.min(1000)).unwrap_or(1000)),
    }
}

fn count(number: usize) -> Option<i32> {
    i32::try_from(number).ok()
}

pub(crate) async fn objects_v2(shared: &Shared, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
    let call = Call::of(&req.extensions)?;
    let input = req.input;
    let prefix = input.prefix.clone().unwrap_or_default();
    call.note(|op| op.key.clone_from(&prefix));
    shared.before(&call).await?;
    let after = match &input.continuation_token {
        Some(token) => from_token(token)?,
        None => input.start_after.clone().unwrap_or_default(),
    };
    let limit = limit(input.max_keys)?;
    let delimiter = input.delimiter.clone().unwrap_or_default();
    let mut state = shared.lock();
    let mut page = if limit == 0 {
        Page { objects: Vec::new(), prefixes: Vec::new(), last: None }
    } else {
        fill(state.bucket(&input.bucket)?, &prefix, &delimiter, &after, limit)
    };
    state.record(&call, false, None);
    drop(state);
    let names = Names::of(input.encoding_type.as_ref());
    Ok(S3Response::new(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(names.encode(&prefix)),
        delimiter: input.delimiter.map(|delimiter| names.encode(&delimiter)),
        start_after: input.start_after.map(|key| names.encode(&key)),
        max_keys: count(limit),
        key_count: count(page.objects.len() + page.prefixes.len()),
        is_truncated: Some(page.last.is_some()),
        continuation_token: input.continuation_token,
        next_continuation_token: page.last.as_deref().map(|last| BASE64_URL_SAFE_NO_PAD.encode(last)),
        common_prefixes: Some(names.prefixes(&page)),
        contents: Some(names.objects(&mut page)),
        encoding_type: input.encoding_type,
        ..Default::default()
    }))
}

fn from_token(token: &str) -> S3Result<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect"))
}

pub(crate) async fn objects_v1(shared: &Shared, req: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
    let call = Call::of(&req.extensions)?;
    let input = req.input;
    let prefix = input.prefix.clone().unwrap_or_default();
    call.note(|op| op.key.clone_from(&prefix));
    shared.before(&call).await?;
    let limit = limit(input.max_keys)?.max(1);
    let delimiter = input.delimiter.clone().unwrap_or_default();
    let mut state = shared.lock();
    let marker = input.marker.as_deref().unwrap_or_default();
    let mut page = fill(state.bucket(&input.bucket)?, &prefix, &delimiter, marker, limit);
    state.record(&call, false, None);
    drop(state);
    let names = Names::of(input.encoding_type.as_ref());
    Ok(S3Response::new(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(names.encode(&prefix)),
        delimiter: input.delimiter.map(|delimiter| names.encode(&delimiter)),
        marker: input.marker.map(|marker| names.encode(&marker)),
        max_keys: count(limit),
        is_truncated: Some(page.last.is_some()),
        next_marker: page.last.as_deref().map(|last| names.encode(last)),
        common_prefixes: Some(names.prefixes(&page)),
        contents: Some(names.objects(&mut page)),
        encoding_type: input.encoding_type,
        ..Default::default()
    }))
}

pub(crate) async fn uploads(
    shared: &Shared,
    req: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let call = Call::of(&req.extensions)?;
    let input = req.input;
    let prefix = input.prefix.clone().unwrap_or_default();
    call.note(|op| op.key.clone_from(&prefix));
    shared.before(&call).await?;
    let limit = limit(input.max_uploads)?.max(1);
    let after = (input.key_marker.clone().unwrap_or_default(), input.upload_id_marker.clone().unwrap_or_default());
    let mut state = shared.lock();
    state.bucket(&input.bucket)?;
    let mut found: Vec<_> = state
        .uploads
        .iter()
        .filter(|(_, upload)| upload.bucket == input.bucket && upload.key.starts_with(&prefix))
        .map(|(id, upload)| (upload.key.clone(), id.clone(), upload.initiated))
        .collect();
    state.record(&call, false, None);
    drop(state);
    found.sort();
    found.retain(
        |(key, id, _)| if after.1.is_empty() { *key > after.0 || after.0.is_empty() } else { (key, id) > (&after.0, &after.1) },
    );
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| more).cloned();
    let names = Names::of(input.encoding_type.as_ref());
    let entries = found.into_iter().map(|(key, id, initiated)| MultipartUpload {
        key: Some(names.encode(&key)),
        upload_id: Some(id),
        initiated: Some(Timestamp::from(initiated)),
        ..Default::default()
    });
    Ok(S3Response::new(ListMultipartUploadsOutput {
        uploads: Some(entries.collect()),
        bucket: Some(input.bucket),
        prefix: Some(names.encode(&prefix)),
        is_truncated: Some(more),
        max_uploads: count(limit),
        next_key_marker: last.as_ref().map(|last| names.encode(&last.0)),
        next_upload_id_marker: last.map(|last| last.1),
        encoding_type: input.encoding_type,
        ..Default::default()
    }))
}

pub(crate) async fn parts(shared: &Shared, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
    let call = Call::of(&req.extensions)?;
    let input = req.input;
    call.note(|op| op.upload = Some(input.upload_id.clone()));
    shared.before(&call).await?;
    let limit = limit(input.max_parts)?.max(1);
    let after = input.part_number_marker.unwrap_or(0);
    let mut state = shared.lock();
    let upload = state.upload(&input.upload_id, &input.bucket, &input.key)?;
    let mut found: Vec<_> = upload.parts.range(after + 1..).map(|(number, part)| (*number, part.clone())).collect();
    state.record(&call, false, None);
    drop(state);
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| more).map(|last| last.0);
    let entries = found.into_iter().map(|(number, part)| PartEntry {
        part_number: Some(number),
        size: i64::try_from(part.body.len()).ok(),
        e_tag: Some(ETag::Strong(part.etag)),
        last_modified: Some(Timestamp::from(part.modified)),
        ..Default::default()
    });
    Ok(S3Response::new(ListPartsOutput {
        parts: Some(entries.collect()),
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        is_truncated: Some(more),
        max_parts: count(limit),
        next_part_number_marker: last,
        ..Default::default()
    }))
}

pub(crate) async fn buckets(shared: &Shared, req: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
    let call = Call::of(&req.extensions)?;
    shared.before(&call).await?;
    let mut state = shared.lock();
    let names: Vec<_> = state.buckets.names().map(str::to_owned).collect();
    state.record(&call, false, None);
    let entries = names.into_iter().map(|name| BucketEntry { name: Some(name), ..Default::default() });
    Ok(S3Response::new(ListBucketsOutput { buckets: Some(entries.collect()), ..Default::default() }))
}

pub(crate) async fn create_bucket(
    shared: &Shared,
    req: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    let call = Call::of(&req.extensions)?;
    shared.before(&call).await?;
    let mut state = shared.lock();
    if state.buckets.bucket(&req.input.bucket).is_some() {
        return Err(s3_error!(BucketAlreadyOwnedByYou));
    }
    state.buckets.0.insert(req.input.bucket.clone(), Bucket::new());
    state.record(&call, true, None);
    Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{}", req.input.bucket)) }))
}

pub(crate) async fn head_bucket(shared: &Shared, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
    let call = Call::of(&req.extensions)?;
    shared.before(&call).await?;
    let mut state = shared.lock();
    state.bucket(&req.input.bucket)?;
    state.record(&call, false, None);
    Ok(S3Response::new(HeadBucketOutput { bucket_region: Some("us-east-1".to_owned()), ..Default::default() }))
}

pub(crate) async fn bucket_location(
    shared: &Shared,
    req: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    let call = Call::of(&req.extensions)?;
    shared.before(&call).await?;
    let mut state = shared.lock();
    state.bucket(&req.input.bucket)?;
    state.record(&call, false, None);
    Ok(S3Response::new(GetBucketLocationOutput::default()))
}

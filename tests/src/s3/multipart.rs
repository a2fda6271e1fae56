//! Multipart uploads.
//!
//! An upload that was completed is gone: completing it once more is `NoSuchUpload`, as in most stores, so that a client
//! whose acknowledgement was lost must look at the object.

use std::{sync::Arc, time::SystemTime};

use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
        CompletedPart, CopyPartResult, CreateMultipartUploadInput, CreateMultipartUploadOutput, Range, Timestamp,
        UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};

use super::{
    body::Body,
    call::Call,
    checksum,
    condition::{check_source, check_write},
    copy::LARGEST_COPY,
    fault::Fault,
    object::Object,
    objects::{asked_encryption, encryption, receive, stored_encoding},
    state::{Part, Shared, State, Upload},
};
use crate::tree::md5_hex;

impl State {
    /// The upload of that id, when it is of that key.
    pub(crate) fn upload(&mut self, id: &str, bucket: &str, key: &str) -> S3Result<&mut Upload> {
        let upload = self.uploads.get_mut(id).filter(|upload| upload.bucket == bucket && upload.key == key);
        upload.ok_or_else(|| s3_error!(NoSuchUpload))
    }
}

pub(crate) async fn create(
    shared: &Shared,
    req: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let call = Call::of(&req.extensions)?;
    shared.before(&call).await?;
    let input = req.input;
    let mut object = Object::new(Vec::new());
    object.content_type.clone_from(&input.content_type);
    object.metadata = input.metadata.into_iter().flatten().collect();
    object.cache_control = input.cache_control;
    object.content_encoding = stored_encoding(input.content_encoding.as_deref());
    object.content_disposition = input.content_disposition;
    object.content_language = input.content_language;
    object.storage_class = input.storage_class.map(|class| class.as_str().to_owned());
    object.tagging = input.tagging;
    object.acl = input.acl.map(|acl| acl.as_str().to_owned());
    object.sse = asked_encryption(input.server_side_encryption.as_ref(), input.ssekms_key_id.as_ref());

    let mut state = shared.lock();
    state.bucket(&input.bucket)?;
    let id = format!("upload-{}", state.next_id());
    let upload = Upload {
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        object,
        parts: std::collections::BTreeMap::new(),
        initiated: SystemTime::now(),
    };
    state.uploads.insert(id.clone(), upload);
    call.note(|op| op.upload = Some(id.clone()));
    state.record(&call, true, None);
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        ..Default::default()
    }))
}

fn note_part(call: &Call, id: &str, number: i32) -> S3Result<()> {
    call.note(|op| {
        op.upload = Some(id.to_owned());
        op.part = Some(number);
    });
    if (1..=10_000).contains(&number) { Ok(()) } else { Err(s3_error!(InvalidArgument, "part number {number}")) }
}

/// Keeps a part; its etag.
fn keep_part(
    shared: &Shared,
    call: &Call,
    upload: (&str, &str, &str),
    number: i32,
    body: Body,
    etag: String,
) -> S3Result<String> {
    let mut state = shared.lock();
    let part = Part { body, etag: etag.clone(), modified: SystemTime::now() };
    state.upload(upload.0, upload.1, upload.2)?.parts.insert(number, part);
    state.record(call, true, Some(&etag));
    Ok(etag)
}

pub(crate) async fn upload_part(shared: &Shared, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
    let call = Call::of(&req.extensions)?;
    let mut input = req.input;
    note_part(&call, &input.upload_id, input.part_number)?;
    let bytes = receive(&call, input.body.take()).await?;
    shared.before(&call).await?;
    let checksums = match call.fault() {
        Some(Fault::FlipUnnoticed) => std::collections::BTreeMap::new(),
        _ => checksum::verify(&req.headers, req.trailing_headers.as_ref(), &bytes)?,
    };
    let mut body = Body::from(bytes);
    let etag = body.etag();
    if call.fault() == Some(&Fault::FlipAtRest) {
        body = body.with_a_flipped_bit();
    }
    let upload = (input.upload_id.as_str(), input.bucket.as_str(), input.key.as_str());
    let etag = keep_part(shared, &call, upload, input.part_number, body, etag)?;
    let output = UploadPartOutput { e_tag: call.etag(&etag), ..Default::default() };
    Ok(S3Response::with_headers(output, checksum::headers(&checksums)))
}

pub(crate) async fn upload_part_copy(
    shared: &Shared,
    req: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let call = Call::of(&req.extensions)?;
    let input = req.input;
    note_part(&call, &input.upload_id, input.part_number)?;
    shared.before(&call).await?;
    let source = shared.lock().source(&call, &input.copy_source)?;
    check_source(input.copy_source_if_match.as_ref(), input.copy_source_if_none_match.as_ref(), &source)?;
    let size = source.body.len();
    let body = match &input.copy_source_range {
        None => source.body.clone(),
        Some(text) => {
            let range = Range::parse(text).map_err(|_| s3_error!(InvalidArgument, "range {text}"))?.check(size)?;
            if matches!(Range::parse(text), Ok(Range::Int { last: Some(last), .. }) if last >= size) {
                return Err(s3_error!(InvalidArgument, "Range specified is not valid for source object of size: {size}"));
            }
            source.body.slice(range)
        }
    };
    if body.len() > LARGEST_COPY {
        return Err(s3_error!(InvalidRequest, "the part is larger than 5368709120"));
    }
    let etag = body.etag();
    let upload = (input.upload_id.as_str(), input.bucket.as_str(), input.key.as_str());
    let etag = keep_part(shared, &call, upload, input.part_number, body, etag)?;
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(CopyPartResult {
            e_tag: call.etag(&etag),
            last_modified: Some(Timestamp::from(SystemTime::now())),
            ..Default::default()
        }),
        ..Default::default()
    }))
}

pub(crate) async fn complete(
    shared: &Shared,
    req: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let call = Call::of(&req.extensions)?;
    let input = req.input;
    call.note(|op| op.upload = Some(input.upload_id.clone()));
    shared.before(&call).await?;
    let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();

    let mut state = shared.lock();
    let smallest = state.settings.smallest_part;
    let upload = state.upload(&input.upload_id, &input.bucket, &input.key)?.clone();
    let parts = chosen_parts(&upload, &named, smallest)?;
    let current = state.bucket(&input.bucket)?.get(&input.key);
    check_write(state.settings.conditions, input.if_match.as_ref(), input.if_none_match.as_ref(), current.map(Arc::as_ref))?;
    let digests: Vec<u8> = parts.iter().flat_map(|part| hex::decode(&part.etag).unwrap_or_default()).collect();
    let object = Object {
        body: Body::join(parts.iter().map(|part| part.body.clone()).collect()),
        etag: format!("{}-{}", md5_hex(&digests), parts.len()),
        etag_is_md5: false,
        part_size: parts.first().map(|part| part.body.len()),
        modified: SystemTime::now(),
        ..upload.object
    };
    let object = state.insert(&call, &input.bucket, &input.key, object);
    state.uploads.remove(&input.upload_id);
    state.record(&call, true, Some(&object.etag));
    drop(state);
    Ok(S3Response::new(CompleteMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: call.etag(&object.etag),
        server_side_encryption: encryption(&object),
        ..Default::default()
    }))
}

fn chosen_parts(upload: &Upload, named: &[CompletedPart], smallest: u64) -> S3Result<Vec<Part>> {
    if named.is_empty() {
        return Err(s3_error!(MalformedXML));
    }
    if !named.is_sorted_by(|left, right| left.part_number < right.part_number) {
        return Err(s3_error!(InvalidPartOrder));
    }
    let mut parts = Vec::new();
    for (index, name) in named.iter().enumerate() {
        let part = name.part_number.and_then(|number| upload.parts.get(&number));
        let same = |part: &&Part| name.e_tag.as_ref().is_some_and(|etag| etag.value() == part.etag);
        let part = part.filter(same).ok_or_else(|| s3_error!(InvalidPart))?;
        if index + 1 < named.len() && part.body.len() < smallest {
            return Err(s3_error!(EntityTooSmall));
        }
        parts.push(part.clone());
    }
    Ok(parts)
}

pub(crate) async fn abort(
    shared: &Shared,
    req: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let call = Call::of(&req.extensions)?;
    let input = req.input;
    call.note(|op| op.upload = Some(input.upload_id.clone()));
    shared.before(&call).await?;
    let mut state = shared.lock();
    state.upload(&input.upload_id, &input.bucket, &input.key)?;
    state.uploads.remove(&input.upload_id);
    state.record(&call, true, None);
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

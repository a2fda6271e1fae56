//! Single objects: put, get, head, delete.

use std::{collections::BTreeMap, io, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hyper::HeaderMap;
use s3s::{
    S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    dto::{
        DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, Error, GetObjectInput,
        GetObjectOutput, GetObjectTaggingInput, GetObjectTaggingOutput, HeadObjectInput, HeadObjectOutput, ObjectIdentifier,
        PutObjectInput, PutObjectOutput, ServerSideEncryption, StreamingBlob, Tag, Timestamp,
    },
    s3_error,
};

use super::{
    body::Body,
    call::Call,
    checksum,
    condition::{DeleteConditions, check_read, check_write},
    fault::Fault,
    log::Op,
    object::Object,
    state::{Shared, State},
};

/// Reads the body of an upload, as it arrives.
pub(crate) async fn receive(call: &Call, body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = body {
        while let Some(chunk) = stream.try_next().await.map_err(|_| s3_error!(IncompleteBody))? {
            bytes.extend_from_slice(&chunk);
        }
    }
    call.note(|op| op.received = bytes.len() as u64);
    if matches!(call.fault(), Some(Fault::FlipArrival | Fault::FlipUnnoticed)) {
        return Ok(Body::from(bytes).with_a_flipped_bit().to_bytes());
    }
    Ok(bytes.into())
}

pub(crate) async fn put(shared: &Shared, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
    let call = Call::of(&req.extensions)?;
    let mut input = req.input;
    let bytes = receive(&call, input.body.take()).await?;
    shared.before(&call).await?;
    let checksums = match call.fault() {
        Some(Fault::FlipUnnoticed) => BTreeMap::new(),
        _ => checksum::verify(&req.headers, req.trailing_headers.as_ref(), &bytes)?,
    };
    let mut object = new_object(bytes, &input);
    object.checksums.clone_from(&checksums);
    if call.fault() == Some(&Fault::FlipAtRest) {
        object.body = object.body.with_a_flipped_bit();
    }

    let mut state = shared.lock();
    let current = state.bucket(&input.bucket)?.get(&input.key);
    check_write(state.settings.conditions, input.if_match.as_ref(), input.if_none_match.as_ref(), current.map(Arc::as_ref))?;
    let object = state.insert(&call, &input.bucket, &input.key, object);
    state.record(&call, true, Some(&object.etag));
    drop(state);
    let output =
        PutObjectOutput { e_tag: call.etag(&object.etag), server_side_encryption: encryption(&object), ..Default::default() };
    Ok(S3Response::with_headers(output, checksum::headers(&checksums)))
}

fn new_object(bytes: Bytes, input: &PutObjectInput) -> Object {
    let mut object = Object::new(bytes);
    object.content_type.clone_from(&input.content_type);
    object.metadata = input.metadata.clone().into_iter().flatten().collect();
    object.cache_control.clone_from(&input.cache_control);
    object.content_encoding = stored_encoding(input.content_encoding.as_deref());
    object.content_disposition.clone_from(&input.content_disposition);
    object.content_language.clone_from(&input.content_language);
    object.storage_class = input.storage_class.as_ref().map(|class| class.as_str().to_owned());
    object.tagging.clone_from(&input.tagging);
    object.acl = input.acl.as_ref().map(|acl| acl.as_str().to_owned());
    object.sse = asked_encryption(input.server_side_encryption.as_ref(), input.ssekms_key_id.as_ref());
    object
}

/// The encryption that a request asks for.
pub(crate) fn asked_encryption(sse: Option<&ServerSideEncryption>, key: Option<&String>) -> Option<String> {
    let sse = sse?.as_str();
    Some(key.map_or_else(|| sse.to_owned(), |key| format!("{sse} {key}")))
}

/// The content encoding without `aws-chunked`, which belongs to the request.
pub(crate) fn stored_encoding(header: Option<&str>) -> Option<String> {
    let kept: Vec<_> = header?.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// The header that tells of encryption by KMS.
pub(crate) fn encryption(object: &Object) -> Option<ServerSideEncryption> {
    object.kms.then(|| ServerSideEncryption::from_static(ServerSideEncryption::AWS_KMS))
}

/// Looks an object up for a read and takes the read's place in the log.
fn look_up(state: &mut State, call: &Call, bucket: &str, key: &str) -> S3Result<Arc<Object>> {
    let object = Arc::clone(state.object(bucket, key)?);
    state.record(call, false, Some(&object.etag));
    Ok(object)
}

pub(crate) async fn get(shared: &Shared, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
    let call = Call::of(&req.extensions)?;
    shared.before(&call).await?;
    let input = req.input;
    let object = look_up(&mut shared.lock(), &call, &input.bucket, &input.key)?;
    check_read(input.if_match.as_ref(), input.if_none_match.as_ref(), &object)?;
    let size = object.body.len();
    let range = input.range.map(|range| range.check(size)).transpose()?;
    let content_range = range.as_ref().map(|range| format!("bytes {}-{}/{size}", range.start, range.end - 1));
    let whole = range.is_none();
    let mut body = range.map_or_else(|| object.body.clone(), |range| object.body.slice(range));
    if let Some(Fault::Shorten { to }) = call.fault() {
        body = body.slice(0..(*to).min(body.len()));
    }
    let wanted_checksums = whole && input.checksum_mode.is_some();
    let output = GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: i64::try_from(body.len()).ok(),
        body: Some(answer_body(&call, &body)),
        content_range,
        content_type: Some(content_type(&object)),
        cache_control: object.cache_control.clone(),
        content_encoding: object.content_encoding.clone(),
        content_disposition: object.content_disposition.clone(),
        content_language: object.content_language.clone(),
        e_tag: call.etag(&object.etag),
        last_modified: Some(Timestamp::from(object.modified)),
        metadata: metadata(&object),
        server_side_encryption: encryption(&object),
        storage_class: object.storage_class.clone().map(Into::into),
        tag_count: tag_count(&object),
        ..Default::default()
    };
    Ok(S3Response::with_headers(output, checksum_headers(&object, wanted_checksums)))
}

pub(crate) async fn head(shared: &Shared, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
    let call = Call::of(&req.extensions)?;
    shared.before(&call).await?;
    let input = req.input;
    let object = look_up(&mut shared.lock(), &call, &input.bucket, &input.key)?;
    check_read(input.if_match.as_ref(), input.if_none_match.as_ref(), &object)?;
    let part = input.part_number.and(object.part_size);
    let output = HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: i64::try_from(part.unwrap_or(object.body.len())).ok(),
        parts_count: part.and_then(|part| i32::try_from(object.body.len().div_ceil(part)).ok()),
        content_type: Some(content_type(&object)),
        cache_control: object.cache_control.clone(),
        content_encoding: object.content_encoding.clone(),
        content_disposition: object.content_disposition.clone(),
        content_language: object.content_language.clone(),
        e_tag: call.etag(&object.etag),
        last_modified: Some(Timestamp::from(object.modified)),
        metadata: metadata(&object),
        server_side_encryption: encryption(&object),
        storage_class: object.storage_class.clone().map(Into::into),
        ..Default::default()
    };
    Ok(S3Response::with_headers(output, checksum_headers(&object, input.checksum_mode.is_some())))
}

fn content_type(object: &Object) -> String {
    object.content_type.clone().unwrap_or_else(|| "binary/octet-stream".to_owned())
}

fn metadata(object: &Object) -> Option<s3s::dto::Metadata> {
    (!object.metadata.is_empty()).then(|| object.metadata.clone().into_iter().collect())
}

fn tag_count(object: &Object) -> Option<i32> {
    let tags = object.tagging.as_ref()?.split('&').filter(|tag| !tag.is_empty()).count();
    i32::try_from(tags).ok()
}

fn checksum_headers(object: &Object, wanted: bool) -> HeaderMap {
    if wanted { checksum::headers(&object.checksums) } else { HeaderMap::new() }
}

/// The body of an answer, as the fault of the request leaves it.
fn answer_body(call: &Call, body: &Body) -> StreamingBlob {
    let body = if call.fault() == Some(&Fault::FlipAnswer) { body.with_a_flipped_bit() } else { body.clone() };
    let cut = match call.fault() {
        Some(Fault::Truncate { after } | Fault::StallBody { after }) => Some((*after).min(body.len())),
        _ => None,
    };
    call.note(|op| op.sent = cut.unwrap_or(body.len()));
    let Some(cut) = cut else {
        return match body {
            Body::Bytes(bytes) => s3s::Body::from(bytes).into(),
            made_up => StreamingBlob::wrap(stream::iter(made_up.chunks().map(Ok::<_, io::Error>))),
        };
    };
    let sent = stream::iter(body.slice(0..cut).chunks().map(Ok));
    if matches!(call.fault(), Some(Fault::StallBody { .. })) {
        return StreamingBlob::wrap(sent.chain(stream::pending::<Result<Bytes, io::Error>>()));
    }
    StreamingBlob::wrap(sent.chain(stream::iter([Err(io::Error::other("cut on purpose"))])))
}

pub(crate) async fn delete(shared: &Shared, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
    let call = Call::of(&req.extensions)?;
    shared.before(&call).await?;
    let input = req.input;
    let mut state = shared.lock();
    let current = state.bucket(&input.bucket)?.get(&input.key);
    let wanted = input.if_match.as_ref().and_then(|condition| condition.as_etag()).map(s3s::dto::ETag::value);
    let verdict = state.settings.delete_conditions.check(wanted, current.map(Arc::as_ref));
    verdict.map_err(error_of)?;
    state.remove(&input.bucket, &input.key);
    state.record(&call, true, None);
    Ok(S3Response::new(DeleteObjectOutput::default()))
}

fn error_of(code: &str) -> S3Error {
    S3Error::new(S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError))
}

pub(crate) async fn delete_many(
    shared: &Shared,
    req: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let call = Call::of(&req.extensions)?;
    if !checksum::is_sent(&req.headers) {
        return Err(s3_error!(InvalidRequest, "Missing required header for this request: Content-MD5"));
    }
    let input = req.input;
    let objects = input.delete.objects;
    // XML has no way to write most control characters: such keys can only be deleted one by one.
    let unwritable = |object: &ObjectIdentifier| object.key.contains(|c: char| c < ' ' && !matches!(c, '\t' | '\n' | '\r'));
    if objects.is_empty() || objects.len() > 1000 || objects.iter().any(unwritable) {
        return Err(s3_error!(MalformedXML));
    }
    let wanted = |object: &ObjectIdentifier| Some((object.key.clone(), object.e_tag.as_ref()?.value().to_owned()));
    call.note(|op| {
        op.keys = objects.iter().map(|object| object.key.clone()).collect();
        op.etags = objects.iter().filter_map(wanted).collect();
    });
    shared.before(&call).await?;

    let op = Op { keys: Vec::new(), applied: true, ..call.op() };
    let mut state = shared.lock();
    state.bucket(&input.bucket)?;
    if let DeleteConditions::RefusesRequests(code) = state.settings.delete_conditions
        && objects.iter().any(|object| object.e_tag.is_some())
    {
        return Err(error_of(code));
    }
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for object in objects {
        match state.delete_in_batch(&op, &input.bucket, &object) {
            Ok(()) => deleted.push(DeletedObject { key: Some(object.key), ..Default::default() }),
            Err(code) => {
                errors.push(Error { code: Some(code.clone()), key: Some(object.key), message: Some(code), version_id: None });
            }
        }
    }
    call.note(|op| {
        if let Some(error) = errors.first() {
            op.fault.get_or_insert_with(|| format!("{} keys failed, {:?}", errors.len(), error.code));
        }
    });
    state.record(&call, !deleted.is_empty(), None);
    let quiet = input.delete.quiet.unwrap_or(false);
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: (!quiet).then_some(deleted),
        errors: (!errors.is_empty()).then_some(errors),
        ..Default::default()
    }))
}

impl State {
    pub(crate) fn remove(&mut self, bucket: &str, key: &str) {
        if let Some(bucket) = self.buckets.0.get_mut(bucket) {
            bucket.remove(key);
        }
    }

    /// Deletes one key of many; the code of the error that it ends in.
    fn delete_in_batch(&mut self, op: &Op, bucket: &str, object: &ObjectIdentifier) -> Result<(), String> {
        let key = object.key.as_str();
        for operation in ["DeleteObject", "DeleteObjects"] {
            let verdict = self.authorize(op.access_key.as_deref(), operation, bucket, Some(key));
            verdict.map_err(|_| "AccessDenied".to_owned())?;
        }
        if let Some(Fault::Error { code, .. }) = self.meet_in_batch(bucket, key) {
            return Err(code);
        }
        let (wanted, current) = (object.e_tag.as_ref().map(s3s::dto::ETag::value), self.buckets.get(bucket, key));
        let verdict = self.settings.delete_conditions.check(wanted, current.map(Arc::as_ref));
        verdict.map_err(str::to_owned)?;
        self.remove(bucket, key);
        // Each deletion is an effect of its own, and may be seen before the next.
        self.watch(&Op { key: key.to_owned(), ..op.clone() });
        Ok(())
    }
}

pub(crate) async fn tagging(
    shared: &Shared,
    req: S3Request<GetObjectTaggingInput>,
) -> S3Result<S3Response<GetObjectTaggingOutput>> {
    let call = Call::of(&req.extensions)?;
    shared.before(&call).await?;
    let object = look_up(&mut shared.lock(), &call, &req.input.bucket, &req.input.key)?;
    let pairs: BTreeMap<String, String> = crate::encoding::query_pairs(object.tagging.as_deref().unwrap_or_default());
    let tag_set = pairs.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) }).collect();
    Ok(S3Response::new(GetObjectTaggingOutput { tag_set, version_id: None }))
}

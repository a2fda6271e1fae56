//! Server-side copies: within a bucket and across buckets.

use std::sync::Arc;

use s3s::{
    S3Request, S3Response, S3Result,
    dto::{CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, MetadataDirective, TaggingDirective, Timestamp},
    s3_error,
};

use super::{
    body::Body,
    call::Call,
    condition::{check_source, check_write, of_header},
    fault::Fault,
    object::Object,
    objects::{asked_encryption, encryption, stored_encoding},
    state::{Shared, State},
};

/// The largest object that one request copies.
pub(crate) const LARGEST_COPY: u64 = 5 * 1024 * 1024 * 1024;

impl State {
    /// The source of a copy, when who asks may read it.
    pub(crate) fn source(&self, call: &Call, source: &CopySource) -> S3Result<Arc<Object>> {
        let CopySource::Bucket { bucket, key, .. } = source else {
            return Err(s3_error!(NotImplemented, "access points"));
        };
        call.note(|op| op.source = Some((bucket.to_string(), key.to_string())));
        self.authorize(call.op().access_key.as_deref(), "GetObject", bucket, Some(key))?;
        Ok(Arc::clone(self.object(bucket, key)?))
    }
}

pub(crate) async fn copy(shared: &Shared, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
    let call = Call::of(&req.extensions)?;
    shared.before(&call).await?;
    let input = req.input;
    let mut state = shared.lock();
    let source = state.source(&call, &input.copy_source)?;
    check_source(input.copy_source_if_match.as_ref(), input.copy_source_if_none_match.as_ref(), &source)?;
    if source.body.len() > LARGEST_COPY {
        let text = "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120";
        return Err(s3_error!(InvalidRequest, "{text}"));
    }
    let replaces = input.metadata_directive.as_ref().is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
    let itself = call.op().source.is_some_and(|source| source == (input.bucket.clone(), input.key.clone()));
    if itself && !replaces && input.storage_class.is_none() {
        return Err(s3_error!(InvalidRequest, "This copy request is illegal because it changes nothing."));
    }
    let if_match = of_header(&req.headers, "if-match");
    let if_none_match = of_header(&req.headers, "if-none-match");
    let current = state.bucket(&input.bucket)?.get(&input.key);
    check_write(state.settings.conditions, if_match.as_ref(), if_none_match.as_ref(), current.map(Arc::as_ref))?;

    let mut object = copied(&source, &input, replaces);
    if call.fault() == Some(&Fault::FlipUnnoticed) {
        object.body = object.body.with_a_flipped_bit();
        object.etag = object.body.etag();
    }
    let object = state.insert(&call, &input.bucket, &input.key, object);
    state.record(&call, true, Some(&object.etag));
    drop(state);
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(CopyObjectResult {
            e_tag: call.etag(&object.etag),
            last_modified: Some(Timestamp::from(object.modified)),
            ..Default::default()
        }),
        server_side_encryption: encryption(&object),
        ..Default::default()
    }))
}

fn copied(source: &Object, input: &CopyObjectInput, replaces: bool) -> Object {
    let mut object = Object {
        acl: input.acl.as_ref().map(|acl| acl.as_str().to_owned()),
        sse: asked_encryption(input.server_side_encryption.as_ref(), input.ssekms_key_id.as_ref()),
        storage_class: input.storage_class.as_ref().map(|class| class.as_str().to_owned()),
        kms: false,
        part_size: None,
        modified: std::time::SystemTime::now(),
        ..source.clone()
    };
    if !source.etag_is_md5 {
        // A copy is one piece, whatever its source was.
        object.etag = source.body.etag();
        object.etag_is_md5 = matches!(source.body, Body::Bytes(_));
    }
    if replaces {
        object.content_type.clone_from(&input.content_type);
        object.metadata = input.metadata.clone().into_iter().flatten().collect();
        object.cache_control.clone_from(&input.cache_control);
        object.content_encoding = stored_encoding(input.content_encoding.as_deref());
        object.content_disposition.clone_from(&input.content_disposition);
        object.content_language.clone_from(&input.content_language);
    }
    if input.tagging_directive.as_ref().is_some_and(|directive| directive.as_str() == TaggingDirective::REPLACE) {
        object.tagging.clone_from(&input.tagging);
    }
    object
}

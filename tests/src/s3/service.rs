//! The operations that the server knows, as `s3s` wants them.

use std::sync::Arc;

use s3s::{
    S3, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
        CopyObjectInput, CopyObjectOutput, CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput,
        CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput,
        GetBucketLocationInput, GetBucketLocationOutput, GetObjectInput, GetObjectOutput, GetObjectTaggingInput,
        GetObjectTaggingOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput,
        ListBucketsOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectsInput, ListObjectsOutput,
        ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput, PutObjectInput, PutObjectOutput,
        UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
    },
};

use super::{copy, list, multipart, objects, state::Shared};

/// The store as `s3s` sees it.
pub(crate) struct Store(pub(crate) Arc<Shared>);

/// `name: Input => Output = function;` for each operation.
macro_rules! operations {
    ($($name:ident: $input:ty => $output:ty = $function:path;)*) => {
        #[async_trait::async_trait]
        impl S3 for Store {
            $(async fn $name(&self, req: S3Request<$input>) -> S3Result<S3Response<$output>> {
                $function(&self.0, req).await
            })*
        }
    };
}

operations! {
    list_buckets: ListBucketsInput => ListBucketsOutput = list::buckets;
    create_bucket: CreateBucketInput => CreateBucketOutput = list::create_bucket;
    head_bucket: HeadBucketInput => HeadBucketOutput = list::head_bucket;
    get_bucket_location: GetBucketLocationInput => GetBucketLocationOutput = list::bucket_location;
    list_objects: ListObjectsInput => ListObjectsOutput = list::objects_v1;
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output = list::objects_v2;
    put_object: PutObjectInput => PutObjectOutput = objects::put;
    get_object: GetObjectInput => GetObjectOutput = objects::get;
    head_object: HeadObjectInput => HeadObjectOutput = objects::head;
    get_object_tagging: GetObjectTaggingInput => GetObjectTaggingOutput = objects::tagging;
    delete_object: DeleteObjectInput => DeleteObjectOutput = objects::delete;
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput = objects::delete_many;
    copy_object: CopyObjectInput => CopyObjectOutput = copy::copy;
    create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput = multipart::create;
    upload_part: UploadPartInput => UploadPartOutput = multipart::upload_part;
    upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput = multipart::upload_part_copy;
    complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput = multipart::complete;
    abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput = multipart::abort;
    list_multipart_uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput = list::uploads;
    list_parts: ListPartsInput => ListPartsOutput = list::parts;
}

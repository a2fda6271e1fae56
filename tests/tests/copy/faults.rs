//! The faults of the matrix, the operations that can meet them, and what must become of the object.

use millrace_tests::s3::Fault;

/// What must become of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Must {
    /// Be done.
    Succeed,
    /// Fail for that reason.
    Fail(&'static str),
    /// Fail for one of these reasons.
    FailAs(&'static [&'static str]),
    /// Be done where the fault cannot do harm, else fail for that reason.
    FailOrBeRight(&'static str),
}

/// A fault.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) operations: &'static [&'static str],
    /// The fault for an object of so many bytes.
    pub(crate) fault: fn(u64) -> Fault,
    pub(crate) once: Must,
    pub(crate) always: Must,
    /// Each meeting takes as long as a silent store is waited for.
    pub(crate) is_slow: bool,
}

/// A store that spoils what it copies and does not notice. Of an object whose etag is of parts nobody can tell: the copy's etag
/// is another one anyway, and the source is not asked for what else it may know.
pub(crate) const SPOILED_INSIDE: &str = "bit flipped inside and not noticed";

const ALL: &[&str] =
    &["GetObject", "PutObject", "CopyObject", "CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload"];
const WRITES: &[&str] =
    &["PutObject", "CopyObject", "CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload"];
const IN_200: &[&str] = &["CopyObject", "UploadPartCopy", "CompleteMultipartUpload"];
const WITH_ETAG: &[&str] = &["GetObject", "PutObject", "CopyObject", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload"];
const SENT: &[&str] = &["PutObject", "UploadPart"];
const GET: &[&str] = &["GetObject"];
const OF_UPLOADS: &[&str] = &["UploadPart", "UploadPartCopy", "CompleteMultipartUpload"];
const WHOLE: &[&str] = &["PutObject", "CopyObject", "CompleteMultipartUpload"];
const SOURCES: &[&str] = &["GetObject", "CopyObject", "UploadPartCopy"];

const fn case(name: &'static str, operations: &'static [&'static str], fault: fn(u64) -> Fault, always: &'static str) -> Case {
    Case { name, operations, fault, once: Must::Succeed, always: Must::Fail(always), is_slow: false }
}

const fn harmless(case: Case, always: Must) -> Case {
    Case { always, ..case }
}

const fn slow(case: Case) -> Case {
    Case { is_slow: true, ..case }
}

const fn at_once(case: Case, kind: &'static str) -> Case {
    Case { once: Must::Fail(kind), ..case }
}

pub(crate) const FAULTS: [Case; 39] = [
    case("500", ALL, |_| Fault::error(500, "InternalError"), "unavailable"),
    case("503", ALL, |_| Fault::error(503, "ServiceUnavailable"), "unavailable"),
    case("slow down", ALL, |_| Fault::slow_down(), "throttled"),
    case("429", ALL, |_| Fault::error(429, "TooManyRequests"), "throttled"),
    case("conflict", WRITES, |_| Fault::error(409, "ConditionalRequestConflict"), "transient"),
    case("clock skew", ALL, |_| Fault::error(403, "RequestTimeTooSkewed"), "transient"),
    at_once(case("403", ALL, |_| Fault::error(403, "AccessDenied"), "denied"), "denied"),
    at_once(case("expired for good", ALL, |_| Fault::error(400, "ExpiredToken"), "denied"), "denied"),
    at_once(case("no source", SOURCES, |_| Fault::error(404, "NoSuchKey"), "not_found"), "not_found"),
    at_once(case("no bucket", WRITES, |_| Fault::error(404, "NoSuchBucket"), "no_bucket"), "no_bucket"),
    case("no upload", OF_UPLOADS, |_| Fault::error(404, "NoSuchUpload"), "no_upload"),
    case("reset before", ALL, |_| Fault::Reset { applied: false }, "unavailable"),
    harmless(case("reset after", ALL, |_| Fault::Reset { applied: true }, ""), Must::FailOrBeRight("unavailable")),
    harmless(
        case("500 after", WRITES, |_| Fault::error_but_applied(500, "InternalError"), ""),
        Must::FailOrBeRight("unavailable"),
    ),
    slow(case("silence before", ALL, |_| Fault::Stall { applied: false }, "timed_out")),
    slow(harmless(case("silence after", ALL, |_| Fault::Stall { applied: true }, ""), Must::FailOrBeRight("timed_out"))),
    case("empty before", ALL, |_| Fault::Empty { applied: false }, "unavailable"),
    harmless(case("empty after", WRITES, |_| Fault::Empty { applied: true }, ""), Must::FailOrBeRight("unavailable")),
    case("error in 200", IN_200, |_| Fault::error_in_200("InternalError"), "unavailable"),
    case("slow down in 200", IN_200, |_| Fault::error_in_200("SlowDown"), "throttled"),
    harmless(
        case("error in 200 after", IN_200, |_| Fault::error_but_applied(200, "InternalError"), ""),
        Must::FailOrBeRight("unavailable"),
    ),
    harmless(case("no etag", WITH_ETAG, |_| Fault::NoEtag, ""), Must::FailOrBeRight("unavailable")),
    harmless(
        case("wrong etag of a part copied", &["UploadPartCopy"], |_| Fault::WrongEtag, ""),
        Must::FailOrBeRight("no_upload"),
    ),
    // The copy of what was uploaded in parts has an etag that nobody knows beforehand.
    harmless(case("wrong etag of a copy", &["CopyObject"], |_| Fault::WrongEtag, ""), Must::FailOrBeRight("mismatch")),
    case("wrong etag", &["PutObject", "CompleteMultipartUpload"], |_| Fault::WrongEtag, "mismatch"),
    // A part whose CRC64NVME the store confirms is known by that; the etag shows to be wrong when the upload is completed.
    harmless(case("wrong etag of a part", &["UploadPart"], |_| Fault::WrongEtag, ""), Must::FailAs(&["mismatch", "no_upload"])),
    case("wrong etag of a source", GET, |_| Fault::WrongEtag, "mismatch"),
    harmless(case("bit flipped on arrival", SENT, |_| Fault::FlipArrival, ""), Must::FailOrBeRight("mismatch")),
    harmless(case("bit flipped and not noticed", SENT, |_| Fault::FlipUnnoticed, ""), Must::FailOrBeRight("mismatch")),
    harmless(case(SPOILED_INSIDE, &["CopyObject"], |_| Fault::FlipUnnoticed, ""), Must::FailOrBeRight("mismatch")),
    harmless(case("bit flipped on the way here", GET, |_| Fault::FlipAnswer, ""), Must::FailOrBeRight("mismatch")),
    harmless(case("cut at the start", GET, |_| Fault::Truncate { after: 0 }, ""), Must::FailOrBeRight("unavailable")),
    harmless(case("cut in the middle", GET, |size| Fault::Truncate { after: size / 2 }, ""), Must::FailOrBeRight("unavailable")),
    slow(harmless(
        case("stalled in the middle", GET, |size| Fault::StallBody { after: size / 2 }, ""),
        Must::FailOrBeRight("timed_out"),
    )),
    harmless(case("short and said so", GET, |size| Fault::Shorten { to: size / 2 }, ""), Must::FailOrBeRight("mismatch")),
    harmless(case("KMS", WHOLE, |_| Fault::Kms, ""), Must::Succeed),
    harmless(case("late", ALL, |_| Fault::Delay(std::time::Duration::from_millis(100)), ""), Must::Succeed),
    case("incomplete", SENT, |_| Fault::error(400, "IncompleteBody"), "unavailable"),
    case("request timeout", SENT, |_| Fault::error(400, "RequestTimeout"), "unavailable"),
];

//! The fault matrix: each fault, on each path that meets it, with objects of each size, once and always.
//!
//! Once, the object must be right in the end. Always, it may fail, for a reason that is named; then nothing bad is left. In no
//! case is an upload in parts left behind.

use std::{sync::LazyLock, time::Duration};

use futures::{StreamExt, stream};
use millrace_tests::s3::{Object, Rule, Target};
use worker::CopySpec;

use super::{
    End, Place, Stage, bucket,
    faults::{Case, FAULTS, Must, SPOILED_INSIDE},
    pattern,
};

/// A way that an object goes, and the operations on it.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) from: Place,
    pub(crate) to: Place,
    /// From this size on in parts, inside the store or through here.
    in_parts_from: Option<u64>,
    pub(crate) operations: &'static [&'static str],
}

pub(crate) const WAYS: [Way; 8] = [
    Way { name: "inside", from: Place::Src, to: Place::Near, in_parts_from: None, operations: &["CopyObject"] },
    Way {
        name: "inside in parts",
        from: Place::Src,
        to: Place::Near,
        in_parts_from: Some(0),
        operations: &["CreateMultipartUpload", "UploadPartCopy", "CompleteMultipartUpload"],
    },
    Way { name: "streamed", from: Place::Src, to: Place::Far, in_parts_from: None, operations: &["GetObject", "PutObject"] },
    Way {
        name: "streamed in parts",
        from: Place::Src,
        to: Place::Far,
        in_parts_from: Some(0),
        operations: &["GetObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"],
    },
    Way { name: "from a file", from: Place::Folder, to: Place::Far, in_parts_from: None, operations: &["PutObject"] },
    Way {
        name: "from a file in parts",
        from: Place::Folder,
        to: Place::Far,
        in_parts_from: Some(0),
        operations: &["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"],
    },
    Way { name: "to a file", from: Place::Src, to: Place::Folder, in_parts_from: None, operations: &["GetObject"] },
    Way { name: "file to file", from: Place::Folder, to: Place::Folder, in_parts_from: None, operations: &[] },
];

const MIB: usize = 1024 * 1024;

/// An object of each size, by name.
static OBJECTS: LazyLock<[(&str, Object); 4]> = LazyLock::new(|| {
    let object = |size: usize| Object::new(pattern(size, 7)).with_content_type("text/x-matrix");
    [
        ("empty", object(0)),
        ("4 KiB", object(4096)),
        ("5 MiB + 1", object(5 * MIB + 1)),
        ("in parts", object(6 * MIB).in_parts(2 * 1024 * 1024)),
    ]
});

impl Way {
    pub(crate) fn spec(&self, stage: &Stage) -> CopySpec {
        let mut spec = stage.spec(self.to);
        (spec.part_size, spec.copy_part_size) = (2 * 1024 * 1024, 2 * 1024 * 1024);
        if let Some(from) = self.in_parts_from {
            (spec.multipart_threshold, spec.copy_in_parts_above) = (from, from);
        }
        spec
    }

    /// The place that an operation is sent to.
    fn meets(&self, operation: &str) -> Place {
        if operation == "GetObject" { self.from } else { self.to }
    }
}

/// One cell: what went wrong, or nothing.
async fn cell(stage: &Stage, way: &Way, operation: &str, case: &Case, object: &(&str, Object), always: bool) -> Option<String> {
    let (size, object) = object;
    let key = format!("{}/{operation}/{}/{size}/{}", way.name, case.name, if always { "always" } else { "once" });
    let mut row = stage.put(way.from, &key, object.clone());
    // What the entry says is written with it; what it does not say is taken from the source.
    row.content_type = Some("text/x-matrix").filter(|_| *size != "4 KiB");
    let meets = way.meets(operation);
    let target = Target::on(operation).bucket(bucket(meets)).key(&key);
    let rule = Rule::new(target, (case.fault)(object.body.len()));
    let rule = stage.server(meets).fault(if always { rule } else { rule.nth(1) });
    let mut spec = way.spec(stage);
    // A busy machine is no silent store.
    if case.is_slow {
        (spec.stall_ms, spec.request_timeout_ms, spec.complete_ms) = (3000, 6000, 6000);
    } else {
        (spec.stall_ms, spec.request_timeout_ms, spec.complete_ms) = (15_000, 30_000, 30_000);
    }
    let end = stage.run_one(&spec, &row).await;
    let hits = stage.server(meets).hits(rule);
    if hits == 0 {
        return Some(format!("{key}: the fault was not met"));
    }
    let must = if always { case.always } else { case.once };
    verdict(stage, way, &key, object, &end, must).map(|wrong| format!("{key}: {wrong} (met {hits} times)\n    {end:?}"))
}

fn verdict(stage: &Stage, way: &Way, key: &str, object: &Object, end: &End, must: Must) -> Option<String> {
    let right = object.bytes();
    let there = stage.bytes(way.to, key);
    if there.as_ref().is_some_and(|bytes| *bytes != right) {
        return Some("something bad is at the destination".to_owned());
    }
    if way.to != Place::Folder {
        if stage.server(way.to).open_uploads().iter().any(|(_, of, _)| of == key) {
            return Some("an upload in parts is left behind".to_owned());
        }
        let object = stage.server(way.to).get(bucket(way.to), key);
        if end.ok
            && way.from != Place::Folder
            && object.is_some_and(|object| object.content_type.as_deref() != Some("text/x-matrix"))
        {
            return Some("the content type is lost".to_owned());
        }
    }
    if end.ok && (there.is_none() || end.proof.is_none()) {
        return Some("it is said to be done, and is not there or not proven".to_owned());
    }
    let told = end.ok || (!end.error.is_empty() && !end.kind.is_empty());
    let fits = match must {
        Must::Succeed => end.ok,
        Must::Fail(kind) => !end.ok && end.kind == kind,
        Must::FailAs(kinds) => !end.ok && kinds.contains(&end.kind.as_str()),
        // Where there is nothing to spoil, or nothing that tells.
        Must::FailOrBeRight(kind) => end.ok || end.kind == kind,
    };
    (!told || !fits).then(|| format!("it must {must:?}"))
}

/// One cell in so many is tried: all of them with `MILLRACE_SOAK`, which takes many minutes.
fn share() -> usize {
    if std::env::var_os("MILLRACE_SOAK").is_some() { 1 } else { 9 }
}

async fn every_cell_of(ways: &[&str]) {
    let stage = Stage::new().await;
    for server in [&stage.here, &stage.there] {
        server.smallest_part(1);
    }
    let mut cells = Vec::new();
    for way in WAYS.iter().filter(|way| ways.contains(&way.name)) {
        for operation in way.operations {
            for case in FAULTS.iter().filter(|case| case.operations.contains(operation)) {
                for object in OBJECTS.iter() {
                    for always in [false, true] {
                        // Silence and large objects take their time: always is for the others.
                        // An empty object has no parts to copy; that way it goes in one request, which has cells of its own.
                        if object.0 == "empty" && way.name == "inside in parts" {
                            continue;
                        }
                        if object.0 == "in parts" && case.name == SPOILED_INSIDE {
                            continue;
                        }
                        if always && (case.is_slow || object.0 == "5 MiB + 1") && object.0 != "4 KiB" {
                            continue;
                        }
                        cells.push((way, *operation, case, object, always));
                    }
                }
            }
        }
    }
    let count = cells.len();
    let run = stream::iter(cells.into_iter().step_by(share())).map(|(way, operation, case, object, always)| {
        let cell = cell(&stage, way, operation, case, object, always);
        async move {
            let end = tokio::time::timeout(Duration::from_mins(2), Box::pin(cell)).await;
            end.unwrap_or_else(|_| Some(format!("{operation} {} hangs", case.name)))
        }
    });
    let wrong: Vec<String> = run.buffer_unordered(16).filter_map(futures::future::ready).collect().await;
    assert!(wrong.is_empty(), "{} of {count} cells:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 40, "{count} cells are few");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_inside_a_store() {
    every_cell_of(&["inside"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_inside_a_store_in_parts() {
    every_cell_of(&["inside in parts"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams() {
    every_cell_of(&["streamed", "to a file"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_in_parts() {
    every_cell_of(&["streamed in parts"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_of_files() {
    every_cell_of(&["from a file", "from a file in parts"]).await;
}

//! What a lakeFS server would restore: the manifest, the dumps it names, and every commit with its id.

use std::{collections::BTreeSet, sync::Arc};

use futures::TryStreamExt;
use graveler::{Namespace, RefsDump, StoreFiles};
use object_store::{local::LocalFileSystem, path::Path};

use super::{Bed, Place};

#[tokio::test]
async fn the_whole_history_is_in_the_dump_and_every_file_is_what_its_name_says() {
    let bed = Bed::with_lake(Place::Folder);
    bed.commit("main", &[("a", "1"), ("b", "2")]);
    bed.branch("main", "dev");
    bed.commit("dev", &[("a", "1"), ("c", "3")]);
    bed.lake("tag", &bed.url("dev")).arg("v1").run().expect_code(0);
    bed.commit("main", &[("a", "9"), ("b", "2")]);
    bed.lake("merge", &bed.url("dev")).arg("main").run().expect_code(0);
    let nothing = bed.files("files", &[]);
    bed.commit_of("dev", &nothing, "nothing").arg("--allow-empty").run().expect_code(0);

    let manifest: serde_json::Value = serde_json::from_slice(&bed.manifest()).unwrap();
    let names: BTreeSet<_> = manifest.as_object().unwrap().keys().map(String::as_str).collect();
    let servers = ["branches_meta_range_id", "commits_meta_range_id", "tags_meta_range_id"];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), [&servers[..2], &["millrace"], &servers[2..]].concat());

    let store = LocalFileSystem::new_with_prefix(bed.path("lake")).unwrap();
    let namespace = Namespace::new(Arc::new(StoreFiles::new(Arc::new(store), Path::default())));
    let dump = RefsDump::open(namespace.clone()).await.unwrap();
    // Reading a commit recomputes its id, as a restore does.
    let commits: Vec<_> = dump.commits().try_collect().await.unwrap();
    let ids: BTreeSet<_> = commits.iter().map(|commit| commit.id.clone()).collect();
    assert_eq!(commits.len(), 6);
    assert!(commits.iter().flat_map(|commit| &commit.parents).all(|parent| ids.contains(parent)));
    assert!(commits.iter().all(|commit| commit.version == 1 && commit.generation >= 1));
    let branches: Vec<_> = dump.branches().try_collect().await.unwrap();
    let tags: Vec<_> = dump.tags().try_collect().await.unwrap();
    assert_eq!(branches.iter().map(|branch| &*branch.id).collect::<Vec<_>>(), ["dev", "main"]);
    assert_eq!(tags.iter().map(|tag| &*tag.id).collect::<Vec<_>>(), ["v1"]);
    let heads = branches.iter().map(|branch| &branch.commit_id).chain(tags.iter().map(|tag| &tag.commit_id));
    assert!(heads.into_iter().all(|head| ids.contains(head)));

    for commit in commits.iter().filter(|commit| !commit.meta_range_id.is_empty()) {
        let tree = namespace.metarange(&commit.meta_range_id).await.unwrap();
        namespace.verify_metarange(tree.id()).await.unwrap();
        for range in tree.ranges() {
            assert_eq!(namespace.verify_range(&range.id).await.unwrap(), range.count);
        }
    }
}

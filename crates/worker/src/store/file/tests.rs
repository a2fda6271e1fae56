use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;
use crate::store::meter::RequestClass;

fn store(root: &Path) -> FileStore {
    let location = Location::parse(&root.to_string_lossy()).unwrap();
    let tree = Arc::new(Tree::new(root.to_path_buf()));
    FileStore::new(&location, tree, Meter::new(Arc::default(), RequestClass::Data))
}

async fn put(store: &FileStore, key: &str, text: &str) -> StoreResult<Put> {
    store.put(key, Bytes::copy_from_slice(text.as_bytes()), &PutOptions::default()).await
}

fn upload_options() -> UploadOptions {
    UploadOptions::default()
}

fn body(text: &'static str) -> Body {
    stream::iter([Ok(Bytes::from_static(text.as_bytes()))]).boxed()
}

#[tokio::test]
async fn a_link_below_the_root_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    std::fs::create_dir_all(&root).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("secret"), "s").unwrap();
    symlink(&outside, root.join("link")).unwrap();
    symlink(outside.join("secret"), root.join("file")).unwrap();
    let store = store(&root);
    let location = Location::parse(&outside.join("secret").to_string_lossy()).unwrap();
    let source = SourceObject { location, if_match: None, size: 1 };
    for key in ["link/new", "link/deep/new", "link/secret"] {
        let failures = [
            put(&store, key, "x").await.unwrap_err(),
            store.upload(key, body("x"), 1, &upload_options()).await.unwrap_err(),
            store.copy_from(&source, key, &CopyOptions::default()).await.unwrap_err(),
            store.get(key, &GetOptions::default()).await.unwrap_err(),
            store.delete(key).await.unwrap_err(),
        ];
        for failure in failures {
            assert_eq!(failure.kind, FailureKind::BadKey, "{key}: {failure}");
            assert!(failure.message.contains("symbolic link"), "{failure}");
        }
    }
    assert_eq!(store.get("file", &GetOptions::default()).await.unwrap_err().kind, FailureKind::BadKey);
    let listed: Vec<Listed> = store.list("").try_collect().await.unwrap();
    assert!(listed.iter().all(|listed| listed.key.starts_with("_millrace/")), "{listed:?}");
    // A link with the object's own name is replaced, not written through.
    put(&store, "file", "x").await.unwrap();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"s");
}

#[tokio::test]
async fn a_folder_and_a_file_in_each_others_way_are_both_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    put(&store, "a", "x").await.unwrap();
    put(&store, "b/c", "x").await.unwrap();
    for (key, words) in [("a/b", ["`a`", "file where a folder"]), ("b", ["`b`", "folder where the object"])] {
        let failures =
            [put(&store, key, "x").await.unwrap_err(), store.upload(key, body("x"), 1, &upload_options()).await.unwrap_err()];
        for failure in failures {
            assert_eq!(failure.kind, FailureKind::BadKey, "{failure}");
            assert!(words.iter().all(|word| failure.message.contains(word)), "{failure}");
        }
    }
    // Nothing is left in the temporary folder.
    assert_eq!(std::fs::read_dir(dir.path().join("_millrace/tmp")).unwrap().count(), 0);
    // A folder is no object: there is nothing to delete, and what is in it stays.
    store.delete("b").await.unwrap();
    assert!(store.head("b/c").await.unwrap().is_some() && store.head("b").await.unwrap().is_none());
}

#[tokio::test]
async fn a_folder_of_nothing_but_folders_makes_way_for_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    std::fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
    std::fs::create_dir_all(dir.path().join("a/d")).unwrap();
    put(&store, "a", "x").await.unwrap();
    assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"x");
    // A link is not nothing, and where it leads is left alone.
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::create_dir(elsewhere.path().join("empty")).unwrap();
    std::fs::create_dir_all(dir.path().join("e/f")).unwrap();
    symlink(elsewhere.path(), dir.path().join("e/link")).unwrap();
    assert_eq!(put(&store, "e", "x").await.unwrap_err().kind, FailureKind::BadKey);
    assert!(dir.path().join("e/f").is_dir() && elsewhere.path().join("empty").is_dir());
}

#[tokio::test]
async fn what_nobody_writes_any_more_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (store, tree) = (store(root), Tree::new(root.to_path_buf()));
    let (dead, note) = (format!("{:032x}", 7), root.join("_millrace/tmp/note"));
    let mut living = Temp::new(&tree).unwrap();
    for folder in ["_millrace/tmp", "_millrace/runs/1/journal/_millrace/tmp", "_millrace/runs/2/plan/round-1"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
        std::fs::write(root.join(folder).join(&dead), "half").unwrap();
    }
    std::fs::write(root.join("_millrace/runs/1/run.json"), "{}").unwrap();
    std::fs::write(&note, "another's").unwrap();
    assert_eq!(store.sweep("_millrace/tmp").await.unwrap(), 1);
    assert_eq!(store.sweep("_millrace/runs").await.unwrap(), 1);
    assert_eq!(store.sweep("_millrace/none").await.unwrap(), 0);
    assert!(note.exists() && !root.join("_millrace/tmp").join(&dead).exists());
    assert!(root.join("_millrace/runs/1/run.json").exists() && !root.join("_millrace/runs/1/journal").exists());
    assert!(root.join("_millrace/runs/2/plan/round-1").join(&dead).exists(), "a file of that name elsewhere is none of ours");
    // Who was writing meanwhile writes on.
    std::io::Write::write_all(living.file(), b"x").unwrap();
    living.publish(&tree, "a").unwrap();
    assert_eq!(std::fs::read(root.join("a")).unwrap(), b"x");
    // A folder that was swept away under somebody's feet is made again.
    let journal =
        FileStore::new(store.location(), Arc::new(Tree::new(root.join("_millrace/runs/3/journal"))), store.meter.clone());
    put(&journal, "1", "x").await.unwrap();
    store.sweep("_millrace/runs").await.unwrap();
    put(&journal, "2", "x").await.unwrap();
    assert!(root.join("_millrace/runs/3/journal/2").exists());
}

#[tokio::test]
async fn emptied_folders_go_but_never_the_root_nor_our_own() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let store = store(&root);
    put(&store, "a/b/c/d", "x").await.unwrap();
    put(&store, "a/keep", "x").await.unwrap();
    store.delete("a/b/c/d").await.unwrap();
    assert!(root.join("a").is_dir() && !root.join("a/b").exists());
    store.delete("a/keep").await.unwrap();
    assert!(root.is_dir() && !root.join("a").exists());
    put(&store, "_millrace/runs/1/run.json", "x").await.unwrap();
    store.delete("_millrace/runs/1/run.json").await.unwrap();
    assert!(root.join("_millrace/tmp").is_dir() && !root.join("_millrace/runs").exists());
    store.sync().await.unwrap();
    // Written again after another process removed the folder under our feet.
    put(&store, "n/o", "x").await.unwrap();
    std::fs::remove_dir_all(root.join("n")).unwrap();
    std::fs::remove_dir_all(root.join("_millrace")).unwrap();
    put(&store, "n/o", "y").await.unwrap();
    assert_eq!(std::fs::read(root.join("n/o")).unwrap(), b"y");
}

#[tokio::test]
async fn names_that_no_file_can_have_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let long = "x".repeat(256);
    for key in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "nul\0", &long] {
        assert_eq!(put(&store, key, "x").await.unwrap_err().kind, FailureKind::BadKey, "{key:?}");
    }
    assert!(!dir.path().join("_millrace/tmp").exists(), "a refused key was tried");
}

#[tokio::test]
async fn a_source_of_another_size_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::write(&from, "12345").unwrap();
    let store = store(&dir.path().join("root"));
    let location = Location::parse(&from.to_string_lossy()).unwrap();
    let source = SourceObject { location, if_match: None, size: 4 };
    assert_eq!(store.copy_from(&source, "k", &CopyOptions::default()).await.unwrap_err().kind, FailureKind::Changed);
    assert!(store.head("k").await.unwrap().is_none());
}

#[tokio::test]
async fn a_reader_follows_links_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/x"), "bytes").unwrap();
    symlink(dir.path().join("data"), dir.path().join("link")).unwrap();
    let reader = FileStore::reader(Meter::new(Arc::default(), RequestClass::Data));
    let key = dir.path().join("link/x").to_string_lossy().trim_start_matches('/').to_owned();
    assert_eq!(reader.get_small(&key).await.unwrap().unwrap().0, "bytes");
    assert!(reader.head(&format!("{key}/below")).await.unwrap().is_none());
    assert_eq!(put(&reader, &key, "x").await.unwrap_err().kind, FailureKind::Unsupported);
}

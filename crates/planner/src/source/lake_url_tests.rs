use super::*;

fn parts(text: &str) -> (String, Option<String>, String) {
    let url = LakeUrl::parse(text).unwrap();
    let place = match url.place() {
        LakePlace::Repository(name) => name.clone(),
        LakePlace::Namespace(location) => location.to_string(),
    };
    (place, url.reference().map(str::to_owned), url.prefix().to_owned())
}

#[test]
fn every_shape_is_read() {
    let table = [
        ("lakefs://orders", "orders", None, ""),
        ("lakefs://orders/", "orders", None, ""),
        ("lakefs://orders/main", "orders", Some("main"), ""),
        ("lakefs://orders/main/", "orders", Some("main"), ""),
        ("lakefs://orders/main/foo", "orders", Some("main"), "foo"),
        ("lakefs://orders/main/foo/", "orders", Some("main"), "foo/"),
        ("lakefs://orders/main~2^1/a//b/", "orders", Some("main~2^1"), "a//b/"),
        ("lakefs://orders/main@/x?y=1&z%2F+", "orders", Some("main@"), "x?y=1&z%2F+"),
        ("lake+s3://lake/orders?ref=main", "s3://lake/orders", Some("main"), ""),
        ("lake+s3://lake/orders/?ref=main", "s3://lake/orders", Some("main"), ""),
        ("lake+s3a://lake/orders", "s3://lake/orders", None, ""),
        ("lake+s3://lake?ref=main&prefix=a/b/", "s3://lake/", Some("main"), "a/b/"),
        ("lake+s3://lake/orders?prefix=x%26y%3F+z%25&ref=main%7E1", "s3://lake/orders", Some("main~1"), "x&y?+z%"),
        ("lake+s3://lake/orders?ref=main~1^2", "s3://lake/orders", Some("main~1^2"), ""),
        ("lake+file:///srv/lake?ref=v1", "file:///srv/lake", Some("v1"), ""),
        ("lake+file:///srv/lake/?ref=v1&prefix=", "file:///srv/lake", Some("v1"), ""),
        ("lake+gs://b/n?ref=m", "gs://b/n", Some("m"), ""),
        ("lake+az://b/n?ref=m", "az://b/n", Some("m"), ""),
        ("lake+memory:///n?ref=m", "memory:///n", Some("m"), ""),
        ("lake+local://orders?ref=m", "local://orders/", Some("m"), ""),
    ];
    for (text, place, reference, prefix) in table {
        assert_eq!(parts(text), (place.to_owned(), reference.map(str::to_owned), prefix.to_owned()), "{text}");
    }
}

#[test]
fn a_dump_and_a_bare_metarange_can_be_named() {
    let url = LakeUrl::parse("lake+s3://b/n?ref=main&dump=/tmp/refs%20dump.json").unwrap();
    assert_eq!(url.dump(), Some("/tmp/refs dump.json"));
    let url = LakeUrl::parse("lake+s3://b/n?metarange=00ff&prefix=a/").unwrap();
    assert_eq!((url.metarange(), url.reference(), url.require_reference().unwrap()), (Some("00ff"), None, ""));
}

#[test]
fn a_relative_folder_lies_below_the_working_directory() {
    let here = std::env::current_dir().unwrap();
    let (place, reference, _) = parts("lake+file://examples/orders?ref=main");
    assert_eq!((place, reference.as_deref()), (format!("file://{}/examples/orders", here.display()), Some("main")));
    assert_eq!(parts("lake+file://./examples/orders/?ref=main").0, format!("file://{}/examples/orders", here.display()));
}

#[test]
fn what_is_written_out_is_read_back_as_the_same() {
    for text in [
        "lakefs://orders",
        "lakefs://orders/main~2^1",
        "lakefs://orders/main/foo",
        "lakefs://orders/main/ a//b?c&d%41+é/",
        "lakefs://orders/main//lead",
        "lake+s3://lake/orders",
        "lake+s3://lake/orders?ref=main&prefix=a/b/&dump=/tmp/x.json",
        "lake+file:///srv/lake?ref=main",
        "lake+file:///srv/lake?metarange=00ff",
    ] {
        assert_eq!(LakeUrl::parse(text).unwrap().to_string(), text);
    }
    let odd = LakeUrl::parse("lake+s3://b/n?ref=m%40&prefix=%20%26%3F%23%25%2B+%C3%A9%0A").unwrap();
    assert_eq!((odd.reference(), odd.prefix()), (Some("m@"), " &?#%++é\n"));
    assert_eq!(odd.to_string().parse::<LakeUrl>().unwrap(), odd);
}

#[test]
fn the_lake_and_another_reference_of_it_can_be_derived() {
    let url = LakeUrl::parse("lakefs://orders/main/foo/").unwrap();
    assert_eq!(url.without_ref().to_string(), "lakefs://orders");
    assert_eq!(url.with_ref("v1").to_string(), "lakefs://orders/v1/foo/");
    let url = LakeUrl::parse("lake+s3://b/n?ref=main&prefix=a/&dump=d.json").unwrap();
    assert_eq!(url.without_ref().to_string(), "lake+s3://b/n?dump=d.json");
    assert_eq!(LakeUrl::parse("lake+s3://b/n?metarange=00").unwrap().without_ref().to_string(), "lake+s3://b/n");
}

#[test]
fn what_is_no_lake_is_refused_with_the_reason_and_a_remedy() {
    let table = [
        ("", "is no lake", "lakefs://REPO/REF"),
        ("orders", "is no lake", "lakefs://REPO/REF"),
        ("s3://b/n", "is no lake", "lake+s3://b/n?ref=REF"),
        ("lakefs://", "names no repository", "lakefs://REPO/REF"),
        ("lakefs:///main", "names no repository", "lakefs://REPO/REF"),
        ("lakefs://orders//foo", "no branch, tag or commit", "lakefs://REPO/REF"),
        ("lakefs://orders/main?prefix=a/", "no parameters", "lakefs://REPO/REF[/PREFIX]"),
        ("lake+s3://", "names no bucket", "BUCKET"),
        ("lake+ftp://x/y?ref=main", "`ftp://`", "use s3://"),
        ("lake+lakefs://x/main", "`lakefs://`", "use s3://"),
        ("lake+/srv/lake?ref=main", "no kind of store", "lake+file:///FOLDER"),
        ("lake+https://acc.blob.core.windows.net/c?ref=main", "over https://", "lakefs://REPO/REF"),
        ("lake+file://?ref=main", "empty location", "folder"),
        ("lake+s3://b/n?main", "`main` is no parameter", "ref=REF"),
        ("lake+s3://b/n?branch=main", "`branch` is not known", "ref=REF, prefix=PREFIX, dump=FILE and metarange=ID"),
        ("lake+s3://b/n?ref=main&ref=dev", "says `ref` twice", "keep one"),
        ("lake+s3://b/n?ref=", "`ref` is empty", "ref=REF"),
        ("lake+s3://b/n?ref=%ff", "not UTF-8", "%25"),
        ("lake+s3://b/n?ref=main&metarange=00", "names a metarange and", "not both"),
        ("lake+s3://b/n?dump=f&metarange=00", "names a metarange and", "not both"),
    ];
    for (text, why, remedy) in table {
        let error = LakeUrl::parse(text).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Usage, "{text}");
        assert!(error.message().contains(why), "{text}: {error}");
        assert!(error.help().is_some_and(|help| help.contains(remedy)), "{text}: {:?}", error.help());
    }
}

#[test]
fn a_missing_reference_is_asked_for_by_name() {
    let error = LakeUrl::parse("lakefs://orders").unwrap().require_reference().unwrap_err();
    assert!(error.help().unwrap().contains("lakefs://orders/main"));
    let error = LakeUrl::parse("lake+s3://b/n").unwrap().require_reference().unwrap_err();
    assert!(error.help().unwrap().contains("lake+s3://b/n?ref=REF"));
}

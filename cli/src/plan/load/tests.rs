//! What is read for a job, and what is refused.

use super::*;

fn walked(host: &Path, guest: &str) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    let source = MountSource { host: host.to_owned(), guest: guest.to_owned() };
    walk(&source, &mut mounts, &mut BTreeMap::new()).map_err(|error| error.to_string())?;
    Ok(mounts)
}

#[test]
fn a_folder_is_walked_in_order_and_a_blob_is_held_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("b")).unwrap();
    for name in ["b/x", "c", "a"] {
        std::fs::write(folder.path().join(name), "same").unwrap();
    }
    let mounts = walked(folder.path(), "/data").unwrap();
    let paths: Vec<_> = mounts.iter().map(|mount| mount.path.as_str()).collect();
    assert_eq!(paths, ["/data/a", "/data/c", "/data/b/x"]);
    assert!(mounts.iter().all(|mount| mount.digest == mounts[0].digest && mount.size == 4));
}

#[test]
fn a_link_is_followed_when_named_and_refused_within_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "x").unwrap();
    std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
    assert_eq!(walked(&folder.path().join("link"), "/l").unwrap().len(), 1);
    assert!(walked(folder.path(), "/d").unwrap_err().contains("is a link"));
}

#[test]
fn what_cannot_be_mounted_is_told() {
    let folder = tempfile::tempdir().unwrap();
    assert!(walked(folder.path(), "/d").unwrap_err().contains("no file is in it"));
    assert!(walked(&folder.path().join("no"), "/d").unwrap_err().contains("no such file"));
    assert!(walked(Path::new("/dev/null"), "/d").unwrap_err().contains("not a file"));
}

#[test]
fn two_files_at_one_place_are_refused() {
    let mount = |path: &str| Mount { path: path.to_owned(), digest: Digest([0; 32]), size: 0 };
    assert!(refuse_twins(&[mount("/a"), mount("/b"), mount("/ab/c")]).is_ok());
    assert!(refuse_twins(&[mount("/a"), mount("/b"), mount("/a")]).is_err());
    assert!(refuse_twins(&[mount("/a/b"), mount("/a-b"), mount("/a")]).is_err());
}

#[test]
fn a_short_input_is_inline_and_a_long_one_a_blob() {
    let mut blobs = BTreeMap::new();
    let short = spool(&b"hello"[..], &mut blobs).unwrap();
    assert_eq!(short, Input::Content(Content::Inline(Bytes::from_static(b"hello"))));
    let long = vec![7; MAX_INLINE_INPUT + 1];
    let Input::Content(Content::Blob { digest, size }) = spool(&long[..], &mut blobs).unwrap()
    else {
        panic!("not a blob");
    };
    assert_eq!((digest, size), (digest_of(&long), long.len() as u64));
    assert_eq!(blobs[&digest].size(), size);
}

#[test]
fn what_is_no_component_is_told_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.wasm");
    std::fs::write(&path, "hello").unwrap();
    let error = component(&path).unwrap_err();
    assert_eq!(error.exit(), Exit::InvalidInput);
    assert!(error.to_string().contains("x.wasm`: "), "{error}");
    assert_eq!(component(&folder.path().join("no.wasm")).unwrap_err().exit(), Exit::NotFound);
    assert_eq!(component(folder.path()).unwrap_err().exit(), Exit::InvalidInput);
}

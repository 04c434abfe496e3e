//! Blobs over a folder of their own.

use wrun_net::{Peer, memory};

use super::*;

fn tenant() -> TenantName {
    "lab".parse().unwrap()
}

async fn upload(
    blobs: &Blobs,
    bytes: &[u8],
    announced: u64,
    digest: Digest,
) -> Result<(), BlobError> {
    let user = Peer::User { tenant: tenant(), role: wrun_protocol::Role::User };
    let (client, server) = memory::pair(user, Peer::Server);
    let (mut send, _recv) = client.open().await.unwrap();
    let bytes = bytes.to_vec();
    let sender = tokio::spawn(async move {
        let _ = send.write_raw(&bytes).await;
        let _ = send.finish();
        (send, client)
    });
    let (_send, mut recv) = server.accept().await.unwrap();
    let result = blobs.receive(&tenant(), digest, announced, &mut recv).await;
    drop((recv, sender.await));
    result
}

fn files(root: &Path) -> usize {
    let mut folders = vec![root.to_owned()];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { count += 1 }
        }
    }
    count
}

#[tokio::test]
async fn a_blob_of_several_pieces_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let bytes: Vec<u8> = (0..3_500_000_u32).map(|i| (i * 7) as u8).collect();
    let digest = digest_of(&bytes);
    upload(&blobs, &bytes, bytes.len() as u64, digest).await.unwrap();
    assert_eq!(blobs.read_all(&tenant(), digest, MAX_BLOB).await.unwrap(), bytes);
    let other = Blobs::open(dir.path()).unwrap();
    assert_eq!(other.size(&tenant(), digest).await.unwrap(), Some(bytes.len() as u64));
    assert_eq!(other.size(&"other".parse().unwrap(), digest).await.unwrap(), None);
}

#[tokio::test]
async fn what_does_not_hash_as_announced_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    for size in [10, 2_500_000_u64] {
        let bytes = vec![1; size as usize];
        let error = upload(&blobs, &bytes, size, Digest([0; 32])).await.unwrap_err();
        assert!(matches!(error, BlobError::Mismatch { .. }), "{error}");
        let error = upload(&blobs, &bytes, size + 1, digest_of(&bytes)).await.unwrap_err();
        assert!(matches!(error, BlobError::CutOff { .. }), "{error}");
    }
    for _ in 0..100 {
        if files(dir.path()) == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(files(dir.path()), 0);
}

#[tokio::test]
async fn an_upload_that_a_crash_cut_short_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("lab/aa")).unwrap();
    std::fs::write(dir.path().join("lab/aa/aabb#1"), b"half").unwrap();
    Blobs::open(dir.path()).unwrap();
    assert_eq!(files(dir.path()), 0);
}

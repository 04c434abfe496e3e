//! Acknowledged means durable, also when the disk fails or the power does.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wrun_protocol::SubmitId;
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{ErrorCode, JobState, LogStream, Request, Response, Submission};
use wrun_server::ServerError;
use wrun_store::disk::{Disk, DiskFile, DiskLock, RealDisk};

use crate::harness::*;

/// A disk whose writes fail as on a full one, once it is told to.
#[derive(Clone, Default)]
struct FullDisk(Arc<AtomicBool>);

struct FullFile {
    file: Box<dyn DiskFile>,
    full: Arc<AtomicBool>,
}

impl FullFile {
    fn check(&self) -> io::Result<()> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl DiskFile for FullFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.append(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.check()?;
        self.file.sync()
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
}

impl Disk for FullDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }
    fn lock(&self, file: &Path) -> io::Result<Option<DiskLock>> {
        RealDisk.lock(file)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(dir)
    }
    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(file)
    }
    fn create(&self, file: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(FullFile { file: RealDisk.create(file)?, full: Arc::clone(&self.0) }))
    }
    fn open(&self, file: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(FullFile { file: RealDisk.open(file)?, full: Arc::clone(&self.0) }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, file: &Path) -> io::Result<()> {
        RealDisk.remove(file)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
}

#[tokio::test]
async fn a_full_disk_stops_the_server_with_the_reason_and_nothing_unsure_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FullDisk::default();
    let server = wrun_server::start_on(config(dir.path()), Arc::new(disk.clone())).await.unwrap();
    let cluster = Cluster { dir, server };
    let client = cluster.user("lab");
    let kept = client.submit(1).await;
    let spec = client.program().await;
    disk.0.store(true, Ordering::SeqCst);
    let spec = EncodedSpec::encode(&spec).unwrap();
    let submission = Submission { id: SubmitId([2; 16]), spec };
    let mut answers = client.open(&Request::Submit(vec![submission])).await;
    match answers.recv.recv::<Response>().await {
        Ok(Some(Response::Refused(error))) => assert_eq!(error.code, ErrorCode::Unavailable),
        Ok(Some(other)) => panic!("acknowledged: {other:?}"),
        Ok(None) | Err(_) => {}
    }
    let reason = soon("the server's end", cluster.server.ended()).await.to_string();
    assert!(reason.contains("journal"), "{reason}");
    assert!(matches!(cluster.server.shutdown().await, Err(ServerError::Ended(_))));
    let server = start(cluster.dir.path()).await;
    let cluster = Cluster { dir: cluster.dir, server };
    let client = cluster.user("lab");
    assert_eq!(client.job(kept).await.summary.state, JobState::Pending);
    assert_eq!(client.submit(1).await, kept);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { drop(std::fs::copy(&path, &target)) }
    }
}

#[tokio::test]
async fn what_is_on_disk_when_the_answer_comes_is_enough_to_know_the_job() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let job = client.submit(1).await;
    let crashed = tempfile::tempdir().unwrap();
    for part in ["ca", "journal", "blobs"] {
        copy(&cluster.dir.path().join(part), &crashed.path().join(part));
    }
    let server = start(crashed.path()).await;
    let survivor = Cluster { dir: crashed, server };
    let client = survivor.user("lab");
    assert_eq!(client.job(job).await.summary.state, JobState::Pending);
    assert_eq!(client.submit(1).await, job);
}

#[tokio::test]
async fn a_history_that_is_lost_takes_no_live_work_with_it() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut worker = cluster.worker("a").await;
    let ended = client.submit(1).await;
    let first = attempt(worker.assigned().await);
    worker.succeed(first, None).await;
    client.end(ended).await;
    let live = client.submit(2).await;
    let running = attempt(worker.assigned().await);
    let node = worker.node;
    // Twice: the second start has a snapshot and no fact before it.
    let cluster = cluster.restart().await.restart().await;
    cluster.server.shutdown().await.unwrap();
    std::fs::remove_file(cluster.dir.path().join("history.redb")).unwrap();
    let server = start(cluster.dir.path()).await;
    let cluster = Cluster { dir: cluster.dir, server };
    let held = vec![assignment(running)];
    let (mut worker, stale) = Worker::connect(&cluster, node, "a", 1, held).await;
    assert_eq!(stale, []);
    worker.number_reports_from(2);
    let recorded = Content::Inline(log(&[chunk(LogStream::Stdout, "kept")]).into());
    worker.succeed(running, Some(recorded)).await;
    let client = cluster.user("lab");
    assert_eq!(client.end(live).await.state, JobState::Succeeded);
    let output = client.ask(Request::Output { job: live, index: 0 }).await;
    assert_eq!(output, Response::Output(Content::Inline("kept".into())));
}

#[tokio::test]
async fn the_history_of_another_journal_is_moved_aside() {
    let cluster = Cluster::start().await;
    let mut worker = cluster.worker("a").await;
    let ended = cluster.user("lab").submit(1).await;
    let first = attempt(worker.assigned().await);
    worker.succeed(first, None).await;
    cluster.user("lab").end(ended).await;
    cluster.server.shutdown().await.unwrap();
    std::fs::remove_dir_all(cluster.dir.path().join("journal")).unwrap();
    let server = start(cluster.dir.path()).await;
    assert!(
        server.warnings().iter().any(|warning| warning.contains("another journal")),
        "{:?}",
        server.warnings()
    );
    assert!(cluster.dir.path().join("history.other-1").exists());
    let cluster = Cluster { dir: cluster.dir, server };
    // The id is given anew, and stands for the new job alone.
    let client = cluster.user("lab");
    assert_eq!(client.submit(2).await, ended);
    assert_eq!(client.job(ended).await.summary.state, JobState::Pending);
    let cluster = cluster.restart().await;
    assert_eq!(cluster.server.warnings(), [] as [String; 0]);
}

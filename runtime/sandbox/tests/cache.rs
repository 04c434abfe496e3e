//! Compiled code: once per digest, kept on disk, trusted only under the node's own seal.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use common::{Bench, digest_of, job, program, task};
use wrun_protocol::Digest;
use wrun_protocol::task::Outcome;
use wrun_sandbox::{PrepareError, Sandbox, SandboxConfig};

/// A program's bytes and how often they were asked for.
struct Source {
    bytes: Bytes,
    digest: Digest,
    asked: Arc<AtomicU32>,
}

impl Source {
    fn new(text: &str) -> Self {
        let bytes = Bytes::from(wat::parse_str(text).unwrap());
        Self { digest: digest_of(&bytes), bytes, asked: Arc::default() }
    }

    async fn compile(&self, sandbox: &Sandbox) -> Result<(), PrepareError> {
        let (bytes, asked) = (self.bytes.clone(), Arc::clone(&self.asked));
        let source = move || {
            asked.fetch_add(1, Ordering::SeqCst);
            Ok(bytes)
        };
        sandbox.compile(self.digest, source).await.map(drop)
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

fn sandbox_in(dir: &Path) -> Sandbox {
    let mut config = SandboxConfig::new(dir);
    config.slots = 4;
    Sandbox::new(config).unwrap()
}

fn entry(dir: &Path, source: &Source, kind: &str) -> std::path::PathBuf {
    dir.join(format!("{}.{kind}", source.digest))
}

#[tokio::test]
async fn however_many_ask_at_once_it_is_compiled_once() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = sandbox_in(dir.path());
    let source = Source::new(&program("(memory 1)", "(i32.const 0)"));
    let (a, b, c) =
        tokio::join!(source.compile(&sandbox), source.compile(&sandbox), source.compile(&sandbox));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(source.asked(), 1);
}

#[tokio::test]
async fn a_restarted_node_maps_what_it_compiled_before() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::new(&program("(memory 1)", "(i32.const 0)"));
    source.compile(&sandbox_in(dir.path())).await.unwrap();
    source.compile(&sandbox_in(dir.path())).await.unwrap();
    assert_eq!(source.asked(), 1);
}

#[tokio::test]
async fn an_entry_that_was_tampered_with_is_discarded_and_compiled_anew() {
    for kind in ["code", "seal"] {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::new(&program("(memory 1)", "(i32.const 0)"));
        source.compile(&sandbox_in(dir.path())).await.unwrap();
        let path = entry(dir.path(), &source, kind);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        source.compile(&sandbox_in(dir.path())).await.unwrap();
        assert_eq!(source.asked(), 2, "{kind}");
        assert_ne!(fs::read(&path).unwrap(), bytes, "{kind}");
    }
}

#[tokio::test]
async fn code_that_another_node_compiled_is_not_trusted() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = Source::new(&program("(memory 1)", "(i32.const 0)"));
    source.compile(&sandbox_in(there.path())).await.unwrap();
    let sandbox = sandbox_in(here.path());
    for kind in ["code", "seal"] {
        fs::copy(entry(there.path(), &source, kind), entry(here.path(), &source, kind)).unwrap();
    }
    source.compile(&sandbox).await.unwrap();
    assert_eq!(source.asked(), 2);
}

#[tokio::test]
async fn the_cache_stays_within_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = SandboxConfig::new(dir.path());
    config.slots = 4;
    config.cache_bytes = 150_000;
    let sandbox = Sandbox::new(config).unwrap();
    for number in 0..20 {
        let body = format!("(i32.mul (i32.const 0) (i32.const {number}))");
        Source::new(&program("(memory 1)", &body)).compile(&sandbox).await.unwrap();
    }
    let sizes = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap());
    let code = sizes.filter(|entry| entry.file_name().to_string_lossy().ends_with(".code"));
    let total: u64 = code.map(|entry| entry.metadata().unwrap().len()).sum();
    assert!(total > 0 && total <= 150_000, "{total}");
}

#[tokio::test]
async fn what_cannot_run_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = sandbox_in(dir.path());
    let wanted = program("", "(i32.const 0)").replacen(
        "(component",
        "(component (import \"acme:gpu/paint\" (instance (export \"f\" (func))))",
        1,
    );
    let error = Source::new(&wanted).compile(&sandbox).await.unwrap_err();
    assert!(error.to_string().contains("acme:gpu/paint"), "{error}");
    let memories: String = (0..90).map(|_| "(memory 1)").collect();
    let many = (0..3)
        .map(|n| format!("(core module $m{n} {memories}) (core instance (instantiate $m{n}))"));
    let text = format!(
        r#"(component {} (core module $m (func (export "run") (result i32) (i32.const 0)))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $wasi (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $wasi)))"#,
        many.collect::<String>()
    );
    let error = Source::new(&text).compile(&sandbox).await.unwrap_err();
    assert!(error.to_string().contains("memories"), "{error}");
}

#[test]
fn a_component_from_the_cache_runs() {
    let bench = Bench::new();
    let text = program("(memory 1)", "(i32.const 0)");
    bench.compile(&text);
    let Bench { sandbox, dir, .. } = &bench;
    let again = sandbox_in(&dir.path().join("cache"));
    let source = Source::new(&text);
    let no_source = || Err(std::io::Error::other("the cache was not used"));
    let prepared = bench.block_on(again.compile(source.digest, no_source)).unwrap();
    let events: Arc<dyn wrun_sandbox::TaskEvents> = bench.events.clone();
    again.start(&prepared, task(5, job()), &events).unwrap();
    assert_eq!(bench.events.end_of(5).outcome, Outcome::Succeeded);
    let _ = sandbox;
}

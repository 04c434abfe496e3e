//! Jobs of which each task has an input of its own.

use bytes::Bytes;
use wrun_protocol::JobSpec;
use wrun_protocol::items::ItemsEncoder;
use wrun_protocol::job::Input;
use wrun_protocol::task::{Content, Failure, Outcome};
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::{BlobReply, Report};
use wrun_sandbox::TaskInput;

use super::scripts::*;

fn inline(text: &str) -> Content {
    Content::Inline(Bytes::copy_from_slice(text.as_bytes()))
}

fn file(items: &[Content]) -> Bytes {
    let mut encoder = ItemsEncoder::new();
    items.iter().for_each(|item| encoder.push(item).unwrap());
    encoder.finish().unwrap()
}

fn by_blob(file: &[u8]) -> Content {
    Content::Blob { digest: digest(file), size: file.len() as u64 }
}

fn each(items: Content, count: u32) -> JobSpec {
    JobSpec { input: Input::Each(items), count, ..spec() }
}

fn input(world: &World, index: u32) -> TaskInput {
    world.script.with_task(index, |task| std::mem::take(&mut task.input))
}

fn text(world: &World, index: u32) -> String {
    match input(world, index) {
        TaskInput::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A worker whose job 1 runs, so that nothing but items is fetched from here on.
async fn with_the_component() -> (World, Server) {
    let world = World::new().await;
    let server = world.assigned(0..1).await;
    world.script.succeed(0);
    (world, server)
}

#[tokio::test]
async fn each_task_is_given_its_own_item_as_it_starts() {
    let (world, mut server) = with_the_component().await;
    let file = file(&["zero", "", "two", "three"].map(inline));
    server.job(2, &each(by_blob(&file), 4)).await;
    server.assign(2, 0..4).await;
    server.serve_blob(&file).await;
    world.script.runs(&[(2, 0), (2, 1)]).await;
    assert_eq!((text(&world, 0), text(&world, 1)), ("zero".into(), String::new()));
    // What follows in the place of another is given its own, too.
    world.script.succeed(1);
    world.script.succeed(0);
    world.script.runs(&[(2, 2), (2, 3)]).await;
    assert_eq!((text(&world, 2), text(&world, 3)), ("two".into(), "three".into()));
}

#[tokio::test]
async fn a_few_items_come_with_the_job() {
    let (world, mut server) = with_the_component().await;
    let file = file(&["zero", "one"].map(inline));
    server.job(2, &each(Content::Inline(file), 2)).await;
    server.assign(2, 1..2).await;
    world.script.runs(&[(2, 1)]).await;
    assert_eq!(text(&world, 1), "one");
}

#[tokio::test]
async fn a_large_item_is_fetched_when_its_task_starts() {
    let (world, mut server) = with_the_component().await;
    let large = vec![b'x'; 100_000];
    let file = file(&[inline("small"), by_blob(&large)]);
    server.job(2, &each(by_blob(&file), 2)).await;
    server.assign(2, 0..1).await;
    server.serve_blob(&file).await;
    world.script.runs(&[(2, 0)]).await;
    server.assign(2, 1..2).await;
    world.script.runs(&[(2, 0), (2, 1)]).await;
    let TaskInput::Later(fetched) = input(&world, 1) else { panic!("not fetched") };
    server.serve_blob(&large).await;
    let fetched = fetched.await.unwrap().unwrap();
    assert_eq!(fetched.metadata().unwrap().len(), 100_000);
}

#[tokio::test]
async fn a_large_item_that_cannot_be_had_is_told_with_its_reason() {
    let (world, mut server) = with_the_component().await;
    let file = file(&[by_blob(b"gone")]);
    server.job(2, &each(Content::Inline(file), 1)).await;
    server.assign(2, 0..1).await;
    world.script.runs(&[(2, 0)]).await;
    let TaskInput::Later(fetched) = input(&world, 0) else { panic!("not fetched") };
    let (_, mut send, _recv) = server.blob_request().await;
    let error = RequestError::new(ErrorCode::NotFound, "no such blob");
    send.send(&BlobReply::Refused(error)).await.unwrap();
    let problem = fetched.await.unwrap().unwrap_err();
    assert!(problem.starts_with("item 0: ") && problem.contains("no such blob"), "{problem}");
}

#[tokio::test]
async fn items_that_do_not_fit_the_job_are_a_failure_to_set_up() {
    let (_world, mut server) = with_the_component().await;
    let _first = server.report().await;
    let items = Content::Inline(file(&["zero", "one"].map(inline)));
    server.job(2, &each(items, 3)).await;
    server.assign(2, 0..1).await;
    let Report::Ended { result, .. } = server.report().await else { panic!("it did not end") };
    let Outcome::Failed(Failure::Setup { message }) = result.outcome else { panic!("it ran") };
    assert_eq!(message, "the items: the items file has 2 items for 3 tasks");
}

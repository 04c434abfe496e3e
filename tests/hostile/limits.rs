//! Every limit ends the task that reaches it, with the limit as its reason.

use wrun_protocol::node::NodeState;
use wrun_protocol::task::{Failure, Limit};
use wrun_protocol::wire::user::JobState;
use wrun_protocol::{JobSpec, Resources};

use crate::{cluster, failure_of, job_of, run, stdout};

/// Runs `guest` beside a neighbour that must not notice, and returns why it failed.
async fn beside_a_neighbour(guest: &str, change: impl FnOnce(&mut JobSpec)) -> Failure {
    let cluster = cluster();
    let mut client = cluster.client().await;
    let mut neighbour = job_of(&client, "sleeper").await;
    neighbour.args = vec!["1500".to_owned()];
    neighbour.resources.cpu_milli = 100;
    let neighbour = client.submit(&neighbour).await;
    let mut spec = job_of(&client, guest).await;
    change(&mut spec);
    let failure = failure_of(&mut client, &spec).await;

    assert_eq!(client.wait(neighbour).await.state, JobState::Succeeded);
    assert_eq!(client.tasks(neighbour).await[0].attempts, 1, "the neighbour was not disturbed");
    let nodes = client.nodes().await;
    assert!(nodes.iter().all(|node| node.state == NodeState::Ready), "{nodes:?}");
    let noop = job_of(&client, "noop").await;
    assert_eq!(run(&mut client, &noop).await.1.state, JobState::Succeeded, "the node still works");
    failure
}

fn limit(limit: Limit, allowed: u64) -> Failure {
    Failure::Limit { limit, allowed }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_ends_at_its_time_limit() {
    let failure = beside_a_neighbour("endless_loop", |spec| spec.limits.wall_ms = Some(500)).await;
    assert_eq!(failure, limit(Limit::WallTime, 500));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_ends_at_its_cpu_time_limit() {
    let failure = beside_a_neighbour("endless_loop", |spec| spec.limits.cpu_ms = Some(300)).await;
    assert_eq!(failure, limit(Limit::CpuTime, 300));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_grows_its_memory_ends_at_its_memory_limit() {
    let failure = beside_a_neighbour("grow_memory", |_| {}).await;
    assert_eq!(failure, limit(Limit::Memory, 64 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_memories_count_together() {
    let failure = beside_a_neighbour("many_memories", |_| {}).await;
    assert_eq!(failure, limit(Limit::Memory, 64 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_recursion_ends_at_the_stack_limit() {
    let failure = beside_a_neighbour("recursion", |_| {}).await;
    assert!(matches!(failure, Failure::Limit { limit: Limit::Stack, .. }), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_output_ends_at_the_output_limit() {
    let failure =
        beside_a_neighbour("flood_output", |spec| spec.limits.output_bytes = 1 << 20).await;
    assert_eq!(failure, limit(Limit::Output, 1 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_log_ends_at_the_log_limit() {
    let failure = beside_a_neighbour("flood_log", |spec| {
        spec.limits.log_bytes = 1 << 20;
        spec.limits.log_rate = 64 << 20;
    })
    .await;
    assert_eq!(failure, limit(Limit::Log, 1 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_above_its_log_rate_is_slowed_down() {
    let failure = beside_a_neighbour("flood_log", |spec| {
        spec.limits.log_rate = 64 << 10;
        spec.limits.wall_ms = Some(1500);
    })
    .await;
    assert_eq!(failure, limit(Limit::WallTime, 1500), "it waits instead of reaching the log limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_file_ends_at_the_scratch_limit() {
    let failure = beside_a_neighbour("huge_file", |_| {}).await;
    assert_eq!(failure, limit(Limit::Scratch, 16 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_never_returns_from_a_host_call_ends_at_its_time_limit() {
    for guest in ["sleep_forever", "random_forever"] {
        let failure = beside_a_neighbour(guest, |spec| spec.limits.wall_ms = Some(500)).await;
        assert_eq!(failure, limit(Limit::WallTime, 500), "{guest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_handles_end_at_the_handle_limit() {
    let failure = beside_a_neighbour("many_handles", |spec| spec.limits.handles = 256).await;
    assert_eq!(failure, limit(Limit::Handles, 256));
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_spawned_without_end_reach_a_limit() {
    let failure = beside_a_neighbour("spawn_forever", |_| {}).await;
    let expected = [Limit::Memory, Limit::Fibers, Limit::Handles];
    assert!(
        matches!(&failure, Failure::Limit { limit, .. } if expected.contains(limit)),
        "{failure:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_is_refused_where_the_memory_limit_is_lower() {
    let cluster = cluster();
    let mut client = cluster.client().await;
    let spec = job_of(&client, "fill_gigabyte").await;
    let (job, end) = run(&mut client, &spec).await;
    assert_eq!(end.state, JobState::Succeeded, "a guest may live with a refusal");
    assert_eq!(stdout(&client, job).await, "refused\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_filled_in_one_instruction_holds_up_nobody_but_its_guest() {
    let failure = beside_a_neighbour("fill_gigabyte", |spec| {
        spec.resources = Resources { memory: 1200 << 20, ..spec.resources };
        spec.limits.wall_ms = Some(1000);
    })
    .await;
    assert_eq!(failure, limit(Limit::WallTime, 1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_trap_with_its_message() {
    let cluster = cluster();
    let mut client = cluster.client().await;
    let spec = job_of(&client, "panics").await;
    let failure = failure_of(&mut client, &spec).await;
    assert!(matches!(failure, Failure::Trap { .. }), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_code_is_the_reason_of_failure() {
    let cluster = cluster();
    let mut client = cluster.client().await;
    let mut spec = job_of(&client, "exit_with").await;
    spec.args = vec!["7".to_owned()];
    assert_eq!(failure_of(&mut client, &spec).await, Failure::Exit { code: 7 });
}

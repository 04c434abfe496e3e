//! Which replicas requests go to.

use std::sync::Arc;

use wrun_protocol::wire::service::{Endpoint, Endpoints, RevisionEndpoints};
use wrun_protocol::{JobId, NodeId};

use super::*;

const NOW: u64 = 1000;

/// A service of these revisions: weight, concurrency, nodes of its replicas.
fn told(revisions: &[(u32, u32, &[u64])]) -> Endpoints {
    let revisions = revisions.iter().zip(1..).map(|((weight, concurrency, nodes), number)| {
        let endpoint =
            |(index, node): (u32, &u64)| Endpoint { index, attempt: 1, node: NodeId(*node) };
        RevisionEndpoints {
            revision: number,
            job: JobId(u64::from(number)),
            weight: *weight,
            header: None,
            concurrency: *concurrency,
            replicas: (0..).zip(*nodes).map(endpoint).collect(),
        }
    });
    let id = ServiceId { tenant: "lab".parse().unwrap(), name: "api".parse().unwrap() };
    Endpoints { id, http: HttpService::default(), revisions: revisions.collect() }
}

fn service(revisions: &[(u32, u32, &[u64])]) -> Arc<Service> {
    fastrand::seed(7);
    Arc::new(Service::new(told(revisions), NodeId(1), Clock::start(), Arc::default()))
}

fn pick_at(service: &Arc<Service>, now: u64) -> Picked {
    service.pick(&service.shape(), None, &[], now)
}

fn pick(service: &Arc<Service>) -> Lease {
    match pick_at(service, NOW) {
        Picked::Lease(lease) => lease,
        other => panic!("{other:?}"),
    }
}

fn node(lease: &Lease) -> u64 {
    lease.target().node.0
}

#[test]
fn revisions_get_requests_by_their_weights_and_evenly_over_time() {
    let service = service(&[(95, 1000, &[1]), (5, 1000, &[2])]);
    let picked: Vec<u64> = (0..400).map(|_| node(&pick(&service))).collect();
    for window in picked.chunks(100) {
        let second = window.iter().filter(|node| **node == 2).count();
        assert!((4..=6).contains(&second), "{second} of a hundred");
    }
}

#[test]
fn a_revision_without_weight_gets_nothing_and_one_without_replicas_neither() {
    let service = service(&[(0, 10, &[1]), (50, 10, &[]), (1, 10, &[3])]);
    assert!((0..50).all(|_| node(&pick(&service)) == 3));
}

#[test]
fn a_revision_that_is_full_leaves_requests_to_another() {
    let service = service(&[(50, 1, &[1]), (50, 1, &[2])]);
    let mut leases = [pick(&service), pick(&service)];
    leases.sort_by_key(node);
    assert_eq!(leases.each_ref().map(node), [1, 2]);
    assert!(matches!(pick_at(&service, NOW), Picked::Full));
    let [first, _second] = leases;
    drop(first);
    assert_eq!(node(&pick(&service)), 1);
}

#[test]
fn the_less_busy_of_two_gets_the_request_and_of_equals_the_local_one() {
    let service = service(&[(1, 10, &[2, 1])]);
    let first = pick(&service);
    assert_eq!(node(&first), 1, "both are idle");
    let second = pick(&service);
    assert_eq!(node(&second), 2, "the local one is busier");
    assert_eq!(node(&pick(&service)), 1);
}

#[test]
fn many_requests_spread_over_many_replicas() {
    let nodes: Vec<u64> = (1..=20).collect();
    let service = service(&[(1, 1000, &nodes)]);
    let leases: Vec<Lease> = (0..2000).map(|_| pick(&service)).collect();
    for wanted in nodes {
        let count = leases.iter().filter(|lease| node(lease) == wanted).count();
        assert!((96..=104).contains(&count), "{count} on {wanted}");
    }
}

#[test]
fn a_replica_that_fails_is_left_out_and_never_more_than_half_of_them() {
    let service = service(&[(1, 1000, &[1, 2, 3, 4, 5])]);
    let failed = crate::UpstreamErrorKind::Failed(String::new());
    for _ in 0..200 {
        pick(&service).on_error(&failed, false, 1);
    }
    let shape = service.shape();
    let now = service.clock.ms(tokio::time::Instant::now());
    let ejected = shape.revisions[0].replicas.iter().filter(|it| it.is_ejected(now)).count();
    assert_eq!(ejected, 2);
    let good: Vec<u64> = shape.revisions[0]
        .replicas
        .iter()
        .filter(|it| !it.is_ejected(now))
        .map(|it| it.node.0)
        .collect();
    for _ in 0..50 {
        assert!(good.contains(&node(&pick(&service))));
    }
    assert!(matches!(pick_at(&service, now + 11_000), Picked::Lease(_)));
}

#[test]
fn one_replica_alone_is_never_left_out() {
    let service = service(&[(1, 1000, &[1])]);
    for _ in 0..50 {
        pick(&service).on_answer(http::StatusCode::INTERNAL_SERVER_ERROR, 1);
    }
    pick(&service);
}

#[test]
fn a_replica_that_is_busy_rests_longer_each_time_and_one_that_drains_for_good() {
    let service = service(&[(1, 10, &[1])]);
    let now = service.clock.ms(tokio::time::Instant::now());
    let replica = Arc::clone(&service.shape().revisions[0].replicas[0]);
    for rest in [0, 1, 2, 4, 5, 5] {
        replica.on_busy(now);
        assert!(replica.room(10, now + rest).is_some(), "{rest} ms");
        assert!(rest == 0 || replica.room(10, now + rest - 1).is_none(), "{rest} ms");
    }
    assert!(matches!(pick_at(&service, now), Picked::Full));
    replica.on_answer();
    replica.on_busy(now);
    assert!(matches!(pick_at(&service, now), Picked::Lease(_)));
    replica.on_draining();
    assert!(matches!(pick_at(&service, now + 100_000), Picked::Empty));
}

#[test]
fn replicas_that_were_tried_are_not_tried_again() {
    let service = service(&[(1, 10, &[1, 2])]);
    let shape = service.shape();
    let first = pick(&service).target();
    let Picked::Lease(second) = service.pick(&shape, None, &[first.attempt], NOW) else {
        panic!("none")
    };
    let both = [first.attempt, second.target().attempt];
    assert_ne!(both[0], both[1]);
    assert!(matches!(service.pick(&shape, None, &both, NOW), Picked::Empty));
}

#[test]
fn what_was_counted_outlives_being_told_anew() {
    let service = service(&[(1, 2, &[1, 2])]);
    let _leases = [pick(&service), pick(&service), pick(&service)];
    service.on_told(told(&[(1, 2, &[1, 2])]), NodeId(1));
    let fourth = pick(&service);
    assert!(matches!(pick_at(&service, NOW), Picked::Full));
    service.on_told(told(&[(0, 2, &[]), (1, 2, &[3])]), NodeId(1));
    assert_eq!(node(&pick(&service)), 3);
    drop(fourth);
    let now = service.clock.us(tokio::time::Instant::now());
    let load = service.take_load(1000, now).unwrap();
    let in_flight: Vec<(u32, u32)> =
        load.revisions.iter().map(|it| (it.revision, it.in_flight)).collect();
    assert_eq!(in_flight[0], (1, 3));
}

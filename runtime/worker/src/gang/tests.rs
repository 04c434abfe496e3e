//! Gangs on one node and on two, over QUIC on loopback: order, bounds, and who is refused.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wrun_net::{Authority, Identity, PrivateKey, signing_request};
use wrun_protocol::limits::{GANG_MESSAGE_COST, GANG_WINDOW};
use wrun_protocol::wire::peer::{FromPeer, Refusal, Route, ToPeer, stream_code};
use wrun_protocol::wire::worker::GangMember;
use wrun_protocol::{IndexRange, JobId, NodeId};
use wrun_sandbox::{GangError, GangSeat, TaskMemory};

use super::Gangs;
use super::members::Members;
use super::state::{ARRIVES_WITHIN, State};
use crate::peers::Peers;
use crate::service::{Replicas, Requests};
use crate::tests::scripts::Script;

const JOB: JobId = JobId(7);
const PATIENCE: Duration = Duration::from_secs(20);

/// A node of a cluster, and where it listens.
struct Node {
    gangs: Arc<Gangs>,
    peers: Arc<Peers>,
}

struct Cluster {
    authority: Authority,
    nodes: Vec<Node>,
}

impl Cluster {
    fn of(count: u64) -> Self {
        let authority = Authority::create().unwrap();
        let nodes = (1..=count).map(|number| {
            let identity = identity(&authority, number);
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let peers = Peers::bind(address, identity, authority.certificate_der().to_vec());
            let peers = peers.unwrap();
            let gangs = Gangs::new(NodeId(number), Some(Arc::clone(&peers)));
            let requests: Arc<dyn Requests> = Arc::new(Replicas::<Script>::new());
            peers.serve(&gangs, &requests);
            Node { gangs, peers }
        });
        let nodes = nodes.collect();
        Self { authority, nodes }
    }

    /// Says that rank 0 is on the first node, rank 1 on the second, and so on, the others on
    /// the last.
    fn place(&self, attempt: u32, size: u32) {
        let last = self.nodes.len() as u32 - 1;
        let members: Vec<_> = (0..size)
            .map(|rank| GangMember {
                tasks: IndexRange::one(rank),
                attempt,
                node: NodeId(u64::from(rank.min(last)) + 1),
                address: Some(self.nodes[rank.min(last) as usize].peers.local_addr()),
            })
            .collect();
        self.nodes.iter().for_each(|node| node.gangs.on_members(JOB, attempt, &members));
    }

    fn seat(&self, rank: u32, attempt: u32, memory: &TaskMemory) -> Arc<dyn GangSeat> {
        let node = &self.nodes[(rank as usize).min(self.nodes.len() - 1)];
        node.gangs.seat(JOB, rank, attempt, memory.clone()).unwrap()
    }
}

fn identity(authority: &Authority, number: u64) -> Identity {
    let (key, request): (PrivateKey, _) = signing_request().unwrap();
    let day = Duration::from_secs(86_400);
    let certificate = authority.issue_node(NodeId(number), &request, day).unwrap();
    Identity::new(vec![certificate], key).unwrap()
}

fn memory() -> TaskMemory {
    TaskMemory::apart(64 << 20)
}

async fn send(seat: &Arc<dyn GangSeat>, to: u32, content: &[u8]) -> Result<(), GangError> {
    let charge = TaskMemory::apart(u64::MAX).charge(content.len() as u64, true).unwrap();
    let sent = seat.send(to, Bytes::copy_from_slice(content), charge);
    tokio::time::timeout(PATIENCE, sent).await.unwrap()
}

async fn receive(seat: &Arc<dyn GangSeat>, from: Option<u32>) -> Result<(u32, Bytes), GangError> {
    tokio::time::timeout(PATIENCE, seat.receive(from)).await.unwrap()
}

#[tokio::test]
async fn messages_of_a_pair_arrive_in_order_whatever_their_size() {
    for nodes in [1, 2] {
        let cluster = Cluster::of(nodes);
        cluster.place(1, 2);
        let (memories, sizes) = ([memory(), memory()], [0, 5, 40_000, 1, 300_000, 32_000]);
        let (sender, receiver) =
            (cluster.seat(0, 1, &memories[0]), cluster.seat(1, 1, &memories[1]));
        let sending = tokio::spawn(async move {
            for number in 0..120_usize {
                let mut content = vec![number as u8];
                content.resize(1 + sizes[number % sizes.len()], 9);
                send(&sender, 1, &content).await.unwrap();
            }
        });
        for number in 0..120_usize {
            let (from, content) = receive(&receiver, [None, Some(0)][number % 2]).await.unwrap();
            let wanted = (0, number as u8, 1 + sizes[number % sizes.len()]);
            assert_eq!((from, content[0], content.len()), wanted);
        }
        sending.await.unwrap();
    }
}

#[tokio::test]
async fn who_is_not_received_from_waits_and_takes_bounded_memory() {
    for nodes in [1, 2] {
        let cluster = Cluster::of(nodes);
        cluster.place(1, 3);
        let taken = memory();
        let (flooder, victim) = (cluster.seat(0, 1, &memory()), cluster.seat(1, 1, &taken));
        let other = cluster.seat(2, 1, &memory());
        let mut sent = 0_u64;
        while tokio::time::timeout(Duration::from_millis(300), send(&flooder, 1, &[0; 936]))
            .await
            .is_ok()
        {
            sent += 1;
        }
        let cost = 936 + u64::from(GANG_MESSAGE_COST);
        assert_eq!(sent, 2 * (u64::from(GANG_WINDOW) / cost), "a window there, a window here");
        // The victim and a third talk on as if nothing were.
        send(&other, 1, b"hello").await.unwrap();
        assert_eq!(receive(&victim, Some(2)).await.unwrap(), (2, Bytes::from_static(b"hello")));
        assert_eq!(taken.charged(), 2 * u64::from(GANG_WINDOW));
        for _ in 0..sent {
            receive(&victim, Some(0)).await.unwrap();
        }
        send(&flooder, 1, b"on").await.unwrap();
        assert_eq!(receive(&victim, None).await.unwrap().1.as_ref(), b"on");
    }
}

#[tokio::test]
async fn a_large_message_takes_the_receivers_memory_only_when_it_is_wanted() {
    let cluster = Cluster::of(2);
    cluster.place(1, 2);
    let taken = TaskMemory::apart(1 << 20);
    let (sender, receiver) = (cluster.seat(0, 1, &memory()), cluster.seat(1, 1, &taken));
    send(&sender, 1, &vec![3; 700_000]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(taken.charged(), u64::from(GANG_WINDOW));
    assert_eq!(receive(&receiver, None).await.unwrap().1.len(), 700_000);
    assert_eq!(taken.charged(), u64::from(GANG_WINDOW), "it was given back");
    send(&sender, 1, &vec![3; 2 << 20]).await.unwrap();
    assert_eq!(receive(&receiver, None).await, Err(GangError::Memory));
}

#[tokio::test]
async fn nobody_passes_a_barrier_before_all_have_come() {
    let cluster = Cluster::of(3);
    cluster.place(1, 5);
    let seats: Vec<_> = (0..5).map(|rank| cluster.seat(rank, 1, &memory())).collect();
    for late in 0..5 {
        let mut waiting = tokio::task::JoinSet::new();
        for (rank, seat) in seats.iter().enumerate().filter(|(rank, _)| *rank != late) {
            let seat = Arc::clone(seat);
            waiting.spawn(async move { (rank, seat.barrier().await) });
        }
        let early = tokio::time::timeout(Duration::from_millis(50), waiting.join_next()).await;
        assert!(early.is_err(), "{early:?} without {late}");
        seats[late].barrier().await.unwrap();
        while let Some(passed) = waiting.join_next().await {
            passed.unwrap().1.unwrap();
        }
    }
}

#[tokio::test]
async fn what_a_task_has_sent_before_it_ended_arrives_and_then_it_is_known_to_have_ended() {
    for nodes in [1, 2] {
        let cluster = Cluster::of(nodes);
        cluster.place(1, 2);
        let (sender, receiver) = (cluster.seat(0, 1, &memory()), cluster.seat(1, 1, &memory()));
        send(&sender, 1, b"last words").await.unwrap();
        cluster.nodes[0].gangs.on_ended(JOB, 0, 1);
        assert_eq!(receive(&receiver, Some(0)).await.unwrap().1.as_ref(), b"last words");
        assert_eq!(receive(&receiver, Some(0)).await, Err(GangError::Ended { rank: 0 }));
    }
}

/// Rank 0 is here, the others are on nodes of their own.
fn apart(size: u32) -> (State, Vec<GangMember>) {
    let of = |rank| GangMember {
        tasks: IndexRange::one(rank),
        attempt: 1,
        node: NodeId(u64::from(rank) + 1),
        address: None,
    };
    let members: Vec<_> = (0..size).map(of).collect();
    let mut state = State::new(NodeId(1), Members::new(&members));
    state.sit(0, memory());
    (state, members)
}

#[tokio::test]
async fn who_ended_without_a_word_is_known_to_have_ended_when_nothing_can_be_on_its_way() {
    let (mut state, members) = apart(3);
    let told = Instant::now();
    let (soon, late) = (told + ARRIVES_WITHIN - Duration::from_millis(1), told + ARRIVES_WITHIN);
    state.learn(&members[..2], told);
    assert_eq!(state.receive(0, Some(2), soon), Ok(None), "something may be on its way");
    assert_eq!(state.pass(0, 2, soon), Ok(false));
    assert_eq!(state.receive(0, Some(2), late), Err(GangError::Ended { rank: 2 }));
    assert_eq!(state.pass(0, 2, late), Err(GangError::Ended { rank: 2 }));
    assert_eq!(state.receive(0, Some(1), late), Ok(None), "it has not ended");
    assert!(!state.is_last(0, late));
    state.learn(&members[..1], told);
    assert!(state.is_last(0, late) && !state.is_last(0, soon), "nothing can come of anybody");
}

#[tokio::test]
async fn while_something_comes_from_its_node_more_may_be_on_its_way() {
    let (mut state, members) = apart(2);
    let told = Instant::now();
    state.learn(&members[..1], told);
    state.on_heard(NodeId(2), None);
    assert_eq!(state.receive(0, Some(1), told + 9 * ARRIVES_WITHIN), Ok(None), "a message comes");
    let heard = told + 9 * ARRIVES_WITHIN;
    state.on_heard(NodeId(2), Some(heard));
    let (soon, late) = (heard + ARRIVES_WITHIN / 2, heard + ARRIVES_WITHIN);
    assert_eq!(state.receive(0, Some(1), soon), Ok(None));
    assert_eq!(state.receive(0, Some(1), late), Err(GangError::Ended { rank: 1 }));
}

#[tokio::test]
async fn who_said_something_before_it_ended_is_heard_to_the_end() {
    let (mut state, members) = apart(2);
    let route = Route { from: 1, to: 0 };
    state.on_frame(FromPeer::Begin(route), Bytes::new()).unwrap();
    let told = Instant::now();
    state.learn(&members[..1], told);
    let late = told + 2 * ARRIVES_WITHIN;
    assert_eq!(state.receive(0, Some(1), late), Ok(None), "its node tells the end itself");
    let last = Bytes::from_static(b"last words");
    let message = FromPeer::Message { route, size: 10 };
    state.on_frame(message, last.clone()).unwrap();
    state.on_frame(FromPeer::Ended(route), Bytes::new()).unwrap();
    assert!(!state.is_last(0, late));
    assert_eq!(state.receive(0, Some(1), late), Ok(Some((1, last))));
    assert_eq!(state.receive(0, Some(1), late), Err(GangError::Ended { rank: 1 }));
    assert!(state.is_last(0, late));
}

#[tokio::test]
async fn routes_to_a_node_take_turns() {
    let of = |rank| GangMember {
        tasks: IndexRange::one(rank),
        attempt: 1,
        node: NodeId(u64::from(rank / 2) + 1),
        address: None,
    };
    let mut state = State::new(NodeId(1), Members::new(&[0, 1, 2].map(of)));
    let routes = [0, 1].map(|from| Route { from, to: 2 });
    for route in routes {
        state.sit(route.from, memory());
    }
    let send = |state: &mut State, route, size: usize| {
        let charge = memory().charge(1, true).unwrap();
        state.send(route, (vec![0; size].into(), charge)).unwrap().is_none()
    };
    let leaving = |state: &mut State| -> Vec<u32> {
        let frames = state.leaving(NodeId(2)).into_iter();
        frames.filter_map(|(frame, _)| super::state::route_of(&frame)).map(|it| it.from).collect()
    };
    let large = 200_000;
    assert!(send(&mut state, routes[0], large) && send(&mut state, routes[1], 1));
    assert_eq!(leaving(&mut state), [0, 0, 1], "both begin, and one offers");
    state.on_reply(ToPeer::Wanted(routes[0]));
    assert_eq!(leaving(&mut state), [0], "a large message is a turn");
    assert!(send(&mut state, routes[0], large));
    state.on_reply(ToPeer::Credit { route: routes[1], bytes: 1 << 10 });
    assert_eq!(leaving(&mut state), [1, 0], "who waited speaks before who spoke last");
}

#[tokio::test]
async fn a_barrier_that_failed_is_not_announced_again() {
    let cluster = Cluster::of(1);
    cluster.place(1, 3);
    let (first, second) = (cluster.seat(0, 1, &memory()), cluster.seat(1, 1, &memory()));
    cluster.nodes[0].gangs.on_ended(JOB, 2, 1);
    for _ in 0..5 {
        assert_eq!(first.barrier().await, Err(GangError::Ended { rank: 2 }));
    }
    assert_eq!(second.barrier().await, Err(GangError::Ended { rank: 2 }), "it is still there");
}

#[tokio::test]
async fn who_sits_down_late_hears_who_has_ended_here() {
    let cluster = Cluster::of(1);
    cluster.place(1, 3);
    cluster.nodes[0].gangs.on_ended(JOB, 1, 1);
    let seat = cluster.seat(0, 1, &memory());
    assert_eq!(receive(&seat, Some(1)).await, Err(GangError::Ended { rank: 1 }));
    cluster.nodes[0].gangs.on_ended(JOB, 2, 1);
    assert_eq!(receive(&seat, None).await, Err(GangError::Ended { rank: 1 }), "all others have");
}

#[tokio::test(start_paused = true)]
async fn the_server_is_asked_for_a_gang_whose_tasks_wait_long() {
    let gangs = Gangs::new(NodeId(1), None);
    let (_, members) = apart(3);
    let here = GangMember { node: NodeId(1), ..members[1] };
    gangs.on_members(JOB, 1, &[members[0], here, members[2]]);
    let begun = Instant::now();
    let first = gangs.seat(JOB, 0, 1, memory()).unwrap();
    let waiting = [0, 1].map(|rank| {
        let seat = gangs.seat(JOB, rank, 1, memory()).unwrap();
        tokio::spawn(async move { seat.receive(Some(2)).await })
    });
    // Both wait; longer each time, and one asks for both.
    for asked_after in [1, 3, 7, 15] {
        gangs.questions().asked().await;
        assert_eq!(begun.elapsed().as_secs(), asked_after);
        assert_eq!(gangs.questions().take(), [JOB].into());
        assert!(!waiting.iter().any(|waiting| waiting.is_finished()));
        gangs.on_members(JOB, 1, &[members[0], here]);
        // Whatever wakes them up does not put the next question off.
        send(&first, 0, b"to itself").await.unwrap();
    }
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), Err(GangError::Ended { rank: 2 }));
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(1) + ARRIVES_WITHIN);
}

#[tokio::test]
async fn a_task_is_told_what_cannot_be() {
    let cluster = Cluster::of(1);
    cluster.place(1, 2);
    let seat = cluster.seat(0, 1, &memory());
    assert_eq!(send(&seat, 2, b"").await, Err(GangError::NoSuchRank { size: 2 }));
    assert_eq!(receive(&seat, Some(2)).await, Err(GangError::NoSuchRank { size: 2 }));
    let other = |job, rank, attempt| cluster.nodes[0].gangs.seat(job, rank, attempt, memory());
    assert!(other(JobId(8), 0, 1).is_none(), "another job's gang is none of its business");
    assert!(other(JOB, 0, 2).is_none(), "nor is another attempt's");
}

#[tokio::test]
async fn a_new_attempt_ends_the_one_before_and_hears_nothing_of_it() {
    let cluster = Cluster::of(2);
    cluster.place(1, 2);
    let (old, waiting) = (cluster.seat(0, 1, &memory()), cluster.seat(1, 1, &memory()));
    send(&old, 1, b"of attempt 1").await.unwrap();
    receive(&waiting, None).await.unwrap();
    send(&old, 1, b"of attempt 1, too late").await.unwrap();
    cluster.place(2, 2);
    assert_eq!(send(&old, 1, b"").await, Err(GangError::Stopping));
    let (sender, receiver) = (cluster.seat(0, 2, &memory()), cluster.seat(1, 2, &memory()));
    send(&sender, 1, b"of attempt 2").await.unwrap();
    assert_eq!(receive(&receiver, None).await.unwrap().1.as_ref(), b"of attempt 2");
}

/// A node that says what the test says: it speaks the protocol itself.
async fn says(
    cluster: &Cluster,
    number: u64,
    frames: &[FromPeer],
) -> (Option<ToPeer>, (wrun_net::SendStream, wrun_net::RecvStream), wrun_net::Connection) {
    let identity = identity(&cluster.authority, number);
    let address = cluster.nodes[0].peers.local_addr();
    let authority = cluster.authority.certificate_der();
    let limits = wrun_net::Limits::default();
    let connected =
        wrun_net::connect_to_node(NodeId(1), address, &identity, authority, &limits).await;
    let connection = connected.unwrap();
    let (mut send, mut recv) = connection.open().await.unwrap();
    let mut answer = None;
    for frame in frames {
        send.send(frame).await.unwrap();
        if answer.is_none() {
            let answered = tokio::time::timeout(PATIENCE, recv.recv::<ToPeer>()).await;
            answer = answered.unwrap().unwrap();
        }
    }
    (answer, (send, recv), connection)
}

#[tokio::test]
async fn streams_of_stale_attempts_and_of_strangers_are_refused() {
    let cluster = Cluster::of(1);
    cluster.place(3, 1);
    let open = |attempt| [FromPeer::Open { job: JOB, attempt }];
    let refused = |refusal| Some(ToPeer::Refused(refusal));
    assert_eq!(says(&cluster, 1, &open(3)).await.0, Some(ToPeer::Opened));
    assert_eq!(says(&cluster, 1, &open(2)).await.0, refused(Refusal::Stale { current: 3 }));
    assert_eq!(says(&cluster, 1, &open(4)).await.0, refused(Refusal::Unknown));
    assert_eq!(says(&cluster, 9, &open(3)).await.0, refused(Refusal::NotAMember));
    let other = [FromPeer::Open { job: JobId(8), attempt: 3 }];
    assert_eq!(says(&cluster, 1, &other).await.0, refused(Refusal::Unknown));
}

#[tokio::test]
async fn a_node_that_sends_what_it_may_not_loses_the_gang() {
    let route = Route { from: 1, to: 0 };
    let foreign = Route { from: 0, to: 0 };
    for wrong in [
        FromPeer::Message { route, size: 1 },
        FromPeer::Begin(foreign),
        FromPeer::Offer { route, size: u32::MAX },
        FromPeer::Open { job: JOB, attempt: 1 },
        FromPeer::Request { attempt: JOB.task(0).attempt(1) },
    ] {
        let cluster = Cluster::of(1);
        let address = Some(cluster.nodes[0].peers.local_addr());
        let of = |rank, node| GangMember {
            tasks: IndexRange::one(rank),
            attempt: 1,
            node: NodeId(node),
            address,
        };
        cluster.nodes[0].gangs.on_members(JOB, 1, &[of(0, 1), of(1, 2)]);
        let seat = cluster.seat(0, 1, &memory());
        let frames = [FromPeer::Open { job: JOB, attempt: 1 }, wrong];
        let (answer, (_send, mut recv), _connection) = says(&cluster, 2, &frames).await;
        assert_eq!(answer, Some(ToPeer::Opened));
        assert_eq!(receive(&seat, None).await, Err(GangError::Lost), "{wrong:?}");
        let end = recv.recv::<ToPeer>().await;
        assert!(matches!(end, Err(wrun_net::RecvError::Reset(stream_code::OVER))), "{end:?}");
    }
}

#[tokio::test]
async fn a_node_that_goes_is_a_gang_that_is_lost() {
    let mut cluster = Cluster::of(2);
    cluster.place(1, 2);
    let (stays, goes) = (cluster.seat(0, 1, &memory()), cluster.seat(1, 1, &memory()));
    send(&goes, 0, b"hello").await.unwrap();
    receive(&stays, None).await.unwrap();
    let waiting = tokio::spawn(async move { receive(&stays, Some(1)).await });
    drop(goes);
    drop(cluster.nodes.pop());
    assert_eq!(waiting.await.unwrap(), Err(GangError::Lost));
    assert_eq!(cluster.nodes[0].gangs.over(JOB, 0, 1), Some(GangError::Lost));
}

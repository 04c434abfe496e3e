//! Requests from one node to another over the loopback interface.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::{mpsc, oneshot};
use wrun_net::{
    Authority, Connection, Identity, Limits, Listener, RecvError, connect_to_node, signing_request,
};
use wrun_protocol::wire::forward::{Answer, CallFailure, Field, Piece, RequestHead};
use wrun_protocol::wire::peer::{FromPeer, stream_code};
use wrun_protocol::{AttemptId, JobId, NodeId};

use super::{call, serve};
use crate::{Body, BodyError, UpstreamError, UpstreamErrorKind, empty, full};

const PATIENCE: Duration = Duration::from_secs(60);

/// Two nodes. The second has its end of every stream served by what the test says.
struct Nodes {
    near: Arc<Connection>,
    far: Connection,
    _listener: Listener,
}

fn identity(authority: &Authority, node: u64) -> Identity {
    let (key, csr) = signing_request().unwrap();
    let hour = Duration::from_secs(3600);
    Identity::new(vec![authority.issue_node(NodeId(node), &csr, hour).unwrap()], key).unwrap()
}

impl Nodes {
    async fn connect() -> Self {
        let authority = Authority::create().unwrap();
        let of = |node| identity(&authority, node);
        let (limits, der) = (Limits::between_nodes(), authority.certificate_der());
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let listener = Listener::bind_for_nodes(address, &of(1), der, limits.clone()).unwrap();
        let address = listener.local_addr();
        let caller = of(2);
        let connecting = connect_to_node(NodeId(1), address, &caller, der, &limits);
        let (near, far) = tokio::join!(connecting, listener.accept());
        Self { near: Arc::new(near.unwrap()), far: far.unwrap(), _listener: listener }
    }

    /// Serves requests by `answer`.
    async fn served<F>(
        answer: impl Fn(AttemptId, Request<Body>, Instant) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Response<Body>, CallFailure>> + Send + 'static,
    {
        let nodes = Self::connect().await;
        let (far, answer) = (nodes.far.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((send, mut recv)) = far.accept().await {
                let answer = Arc::clone(&answer);
                tokio::spawn(async move {
                    let Ok(Some(FromPeer::Request { attempt })) = recv.recv().await else { return };
                    serve(send, recv, |request, deadline| answer(attempt, request, deadline)).await;
                });
            }
        });
        nodes
    }

    async fn call(&self, request: Request<Body>) -> Result<Response<Body>, UpstreamError> {
        self.call_within(request, PATIENCE).await
    }

    async fn call_within(
        &self,
        request: Request<Body>,
        time: Duration,
    ) -> Result<Response<Body>, UpstreamError> {
        let connection = Arc::clone(&self.near);
        call(connection, attempt(), request, Instant::now() + time).await
    }
}

fn attempt() -> AttemptId {
    JobId(3).task(5).attempt(2)
}

fn post(body: Body) -> Request<Body> {
    let builder = Request::builder().method(Method::POST).uri("http://a.example/b?c=%20");
    builder.body(body).unwrap()
}

fn get() -> Request<Body> {
    Request::builder().uri("http://a.example/").body(empty()).unwrap()
}

/// A body that comes piece by piece, as the channel gives them.
fn channel() -> (mpsc::Sender<Result<Frame<Bytes>, BodyError>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    (sender, StreamBody::new(pieces).boxed_unsync())
}

/// A body without an end, and how many bytes of it were taken.
fn endless() -> (Arc<AtomicUsize>, Body) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let pieces = stream::repeat_with(move || {
        counter.fetch_add(64 << 10, Ordering::Relaxed);
        Ok::<_, BodyError>(Frame::data(Bytes::from_static(&[7; 64 << 10])))
    });
    (taken, StreamBody::new(pieces).boxed_unsync())
}

/// The first is held; the second fails when it has gone.
fn gone() -> (oneshot::Sender<Infallible>, oneshot::Receiver<Infallible>) {
    oneshot::channel()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens within a minute")
}

/// Waits until the number stands still, and says it.
async fn settled(number: &AtomicUsize) -> usize {
    loop {
        let before = number.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
        if before > 0 && number.load(Ordering::Relaxed) == before {
            return before;
        }
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))])
}

#[tokio::test]
async fn a_request_and_its_answer_arrive_as_they_were_sent() {
    let nodes = Nodes::served(|of, request, _| async move {
        assert_eq!(of, attempt());
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "http://a.example/b?c=%20");
        let cookies: Vec<_> = request.headers().get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a", "b"]);
        assert_eq!(request.headers()["x-bytes"].as_bytes(), b"\xff");
        let collected = request.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers()));
        assert_eq!(collected.to_bytes(), "question");
        let answer = full("answer").with_trailers(async { Some(Ok(trailers())) });
        let builder = Response::builder().status(StatusCode::IM_A_TEAPOT).header("server", "pot");
        Ok(builder.body(answer.boxed_unsync()).unwrap())
    })
    .await;
    let body = full("question").with_trailers(async { Some(Ok(trailers())) });
    let mut request = post(body.boxed_unsync());
    request.headers_mut().append("cookie", HeaderValue::from_static("a"));
    request.headers_mut().append("cookie", HeaderValue::from_static("b"));
    request.headers_mut().append("x-bytes", HeaderValue::from_bytes(b"\xff").unwrap());
    let answer = nodes.call(request).await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["server"]),
        (StatusCode::IM_A_TEAPOT, &"pot".parse::<HeaderValue>().unwrap())
    );
    let collected = answer.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers()));
    assert_eq!(collected.to_bytes(), "answer");
}

#[tokio::test]
async fn large_bodies_flow_both_ways_at_once() {
    // Made before there is a connection that would take this long for its end.
    let sent: Vec<u8> = (0..6_000_000_u32).map(|i| ((i * 7) >> 3) as u8).collect();
    let pieces: Vec<_> = sent
        .chunks(333_333)
        .flat_map(|large| large.chunks(300_000))
        .map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    let body = StreamBody::new(stream::iter(pieces)).boxed_unsync();
    let echo = |_, request: Request<Body>, _| async { Ok(Response::new(request.into_body())) };
    let nodes = Nodes::served(echo).await;
    let answer = nodes.call(post(body)).await.unwrap();
    let received = soon(answer.into_body().collect()).await.unwrap().to_bytes();
    assert!(received == sent);
}

#[tokio::test]
async fn an_answer_may_begin_and_end_before_its_request_does() {
    let nodes = Nodes::served(|_, _, _| async { Ok(Response::new(full("enough"))) }).await;
    let (taken, body) = endless();
    let answer = nodes.call(post(body)).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "enough");
    settled(&taken).await;
}

#[tokio::test]
async fn whoever_does_not_read_an_answer_holds_back_whoever_writes_it() {
    let (taken, body) = endless();
    let body = std::sync::Mutex::new(Some(body));
    let nodes = Nodes::served(move |_, _, _| {
        let body = body.lock().unwrap().take().unwrap();
        async { Ok(Response::new(body)) }
    })
    .await;
    let mut answer = nodes.call(get()).await.unwrap().into_body();
    let waiting = settled(&taken).await;
    assert!(waiting <= 1 << 20, "{waiting} bytes are under way");
    let mut read = 0;
    while read < 8 << 20 {
        read += answer.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    assert!(taken.load(Ordering::Relaxed) >= read);
}

#[tokio::test]
async fn a_guest_that_does_not_read_holds_back_its_client() {
    let nodes = Nodes::served(|_, request, _| async {
        let _unread = request;
        std::future::pending().await
    })
    .await;
    let (taken, body) = endless();
    let calling = nodes.call(post(body));
    let waiting = async { settled(&taken).await };
    let waiting = tokio::select! {
        _ = calling => panic!("nobody answers"),
        waiting = waiting => waiting,
    };
    assert!(waiting <= 1 << 20, "{waiting} bytes are under way");
}

#[tokio::test]
async fn streams_that_stand_still_hold_up_no_others() {
    let nodes = Nodes::served(|_, request: Request<Body>, _| async move {
        let is_slow = request.headers().contains_key("slow");
        Ok(Response::new(if is_slow { endless().1 } else { full(vec![7; 3 << 20]) }))
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut slow = get();
        slow.headers_mut().insert("slow", HeaderValue::from_static(""));
        held.push(nodes.call(slow).await.unwrap());
    }
    let answer = soon(nodes.call(get())).await.unwrap();
    assert_eq!(soon(answer.into_body().collect()).await.unwrap().to_bytes().len(), 3 << 20);
    drop(held);
}

#[tokio::test]
async fn giving_a_request_up_before_its_answer_stops_the_guest() {
    let (kept, has_gone) = gone();
    let (begun, has_begun) = oneshot::channel();
    let once = std::sync::Mutex::new(Some((kept, begun)));
    let nodes = Nodes::served(move |_, _, _| {
        let (kept, begun) = once.lock().unwrap().take().unwrap();
        async move {
            let _kept = kept;
            begun.send(()).unwrap();
            std::future::pending().await
        }
    })
    .await;
    let calling = nodes.call(get());
    tokio::select! {
        _ = calling => panic!("nobody answers"),
        begun = has_begun => begun.unwrap(),
    }
    soon(has_gone).await.unwrap_err();
}

#[tokio::test]
async fn giving_an_answer_up_stops_the_guest_that_writes_it_and_the_client_that_writes_to_it() {
    let (kept, has_gone) = gone();
    let kept = std::sync::Mutex::new(Some(kept));
    let nodes = Nodes::served(move |_, request, _| {
        let kept = kept.lock().unwrap().take().unwrap();
        async move {
            let pieces = stream::unfold((kept, request), |kept| async {
                std::future::pending::<()>().await;
                Some((Ok::<_, BodyError>(Frame::data(Bytes::new())), kept))
            });
            Ok(Response::new(StreamBody::new(pieces).boxed_unsync()))
        }
    })
    .await;
    let (more, body) = channel();
    let answer = nodes.call(post(body)).await.unwrap();
    drop(answer);
    soon(has_gone).await.unwrap_err();
    soon(more.closed()).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_told_of_on_the_other_side() {
    let (told, hears) = oneshot::channel();
    let told = std::sync::Mutex::new(Some(told));
    let nodes = Nodes::served(move |_, request, _| {
        let told = told.lock().unwrap().take().unwrap();
        async move {
            let error = request.into_body().collect().await.unwrap_err();
            told.send(error.to_string()).unwrap();
            let (pieces, body) = channel();
            pieces.send(Ok(Frame::data("half".into()))).await.unwrap();
            tokio::spawn(async move { pieces.send(Err("the guest trapped".into())).await });
            Ok(Response::new(body))
        }
    })
    .await;
    let (pieces, body) = channel();
    pieces.send(Err("the client left".into())).await.unwrap();
    let mut answer = nodes.call(post(body)).await.unwrap().into_body();
    assert_eq!(hears.await.unwrap(), "the client left");
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    let error = answer.frame().await.unwrap().unwrap_err();
    let wanted = UpstreamErrorKind::Failed("the guest trapped".to_owned()).after();
    assert_eq!(error.downcast_ref(), Some(&wanted));
}

#[tokio::test]
async fn a_refusal_says_whether_a_guest_has_seen_the_request() {
    let nodes = Nodes::served(|_, request: Request<Body>, _| async move {
        Err(match request.headers()["why"].as_bytes() {
            b"stale" => CallFailure::NotHere,
            b"busy" => CallFailure::Busy,
            b"setup" => CallFailure::Setup { message: "no".to_owned() },
            b"late" => CallFailure::TimedOut { begun: false },
            _ => CallFailure::Guest { message: "trap".to_owned() },
        })
    })
    .await;
    let failed = |text: &str| UpstreamErrorKind::Failed(text.to_owned());
    for (why, wanted) in [
        ("stale", UpstreamErrorKind::Draining.before()),
        ("busy", UpstreamErrorKind::Busy.before()),
        ("setup", failed("no").before()),
        ("late", UpstreamErrorKind::TimedOut.before()),
        ("trap", failed("trap").after()),
    ] {
        let mut request = get();
        request.headers_mut().insert("why", HeaderValue::from_static(why));
        assert_eq!(nodes.call(request).await.unwrap_err(), wanted);
    }
}

#[tokio::test]
async fn when_the_time_is_over_the_caller_goes_on_and_the_guest_is_stopped() {
    let (kept, has_gone) = gone();
    let kept = std::sync::Mutex::new(Some(kept));
    let nodes = Nodes::served(move |_, _, deadline: Instant| {
        let kept = kept.lock().unwrap().take().unwrap();
        async move {
            let _kept = kept;
            assert!(deadline <= Instant::now() + Duration::from_millis(200));
            std::future::pending().await
        }
    })
    .await;
    let error = nodes.call_within(get(), Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(error, UpstreamErrorKind::TimedOut.after());
    soon(has_gone).await.unwrap_err();
}

#[tokio::test]
async fn a_node_that_is_gone_has_seen_nothing_of_what_was_not_sent() {
    let nodes = Nodes::served(|_, _, _| std::future::pending()).await;
    let (calling, far) = (nodes.call(get()), nodes.far.clone());
    let closing = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        far.close(0, "gone");
    };
    let (error, ()) = tokio::join!(calling, closing);
    let error = error.unwrap_err();
    assert!(matches!(error.kind, UpstreamErrorKind::Unreachable(_)), "{error}");
    assert!(!error.never_begun, "it may have been seen");
    let error = nodes.call(get()).await.unwrap_err();
    assert!(matches!(error.kind, UpstreamErrorKind::Unreachable(_)), "{error}");
    assert!(error.never_begun, "there was no connection to send it on");
}

/// What the serving side answers to bytes that no caller of this version sends.
async fn answer_to(nodes: &Nodes, bytes: &[u8]) -> Result<Option<Answer>, RecvError> {
    let (mut send, mut recv) = nodes.near.open().await.unwrap();
    send.send(&FromPeer::Request { attempt: attempt() }).await.unwrap();
    // The other side may stop the stream at once.
    let _ = send.write_raw(bytes).await;
    let _ = send.finish();
    soon(recv.recv()).await
}

fn frames(head: &RequestHead, pieces: &[Piece]) -> Vec<u8> {
    let mut bytes = Vec::new();
    wrun_protocol::codec::append_frame(&mut bytes, head).unwrap();
    for piece in pieces {
        wrun_protocol::codec::append_frame(&mut bytes, piece).unwrap();
    }
    bytes
}

#[tokio::test]
async fn what_is_malformed_is_refused_and_the_connection_goes_on() {
    let echo = |_, request: Request<Body>, _| async {
        match request.into_body().collect().await {
            Ok(body) => Ok(Response::new(full(body.to_bytes()))),
            Err(error) => Err(CallFailure::Guest { message: error.to_string() }),
        }
    };
    let nodes = Nodes::served(echo).await;
    let sound = RequestHead {
        method: "GET".to_owned(),
        uri: "http://a.example/".to_owned(),
        fields: Vec::new(),
        within_ms: 60_000,
        has_body: true,
    };
    let field = |name: &str, value: &'static [u8]| {
        vec![Field { name: name.to_owned(), value: Bytes::from_static(value) }]
    };
    for head in [
        RequestHead { method: "GET /".to_owned(), ..sound.clone() },
        RequestHead { uri: "http://a b/".to_owned(), ..sound.clone() },
        RequestHead { fields: field("a b", b""), ..sound.clone() },
        RequestHead { fields: field("a", b"b\r\nc: d"), ..sound.clone() },
    ] {
        let answer = answer_to(&nodes, &frames(&head, &[Piece::End])).await.unwrap();
        let refused = matches!(answer, Some(Answer::Failed(CallFailure::Request { .. })));
        assert!(refused, "{head:?}: {answer:?}");
    }
    let cut = [Piece::Data { size: 10 }];
    let longer = [Piece::Data { size: 10 }, Piece::End];
    let trailers = [Piece::Trailers(field("a b", b""))];
    for pieces in [&[][..], &cut, &longer, &trailers] {
        let answer = answer_to(&nodes, &frames(&sound, pieces)).await.unwrap();
        let failed = matches!(answer, Some(Answer::Failed(CallFailure::Guest { .. })));
        assert!(failed, "{pieces:?}: {answer:?}");
    }
    let protocol = Err(RecvError::Reset(stream_code::PROTOCOL));
    for garbage in [&[][..], &[1, 0], &[3, 0, 0, 0, 0xff, 0xff, 0xff], &[0xff; 8]] {
        assert_eq!(answer_to(&nodes, garbage).await, protocol, "{garbage:?}");
    }
    let answer = nodes.call(post(full("still here"))).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "still here");
}

#[tokio::test]
async fn an_answer_that_is_none_fails_the_request_and_the_connection_goes_on() {
    let nodes = Nodes::connect().await;
    let far = nodes.far.clone();
    let answers = async {
        let heads: [&[u8]; 3] = [&[], &[3, 0, 0, 0, 9, 9, 9], &[4, 0, 0, 0, 0, 1, 0, 0]];
        for bytes in heads {
            let (mut send, _recv) = far.accept().await.unwrap();
            send.write_raw(bytes).await.unwrap();
            send.finish_and_wait().await.unwrap();
        }
    };
    let calls = async {
        for _ in 0..3 {
            let error = nodes.call(get()).await.unwrap_err();
            assert!(matches!(error.kind, UpstreamErrorKind::Failed(_)), "{error}");
            assert!(!error.never_begun);
        }
    };
    tokio::join!(answers, calls);
}

#[tokio::test]
async fn a_head_that_fits_no_frame_is_not_sent() {
    let nodes = Nodes::connect().await;
    let mut request = get();
    let large = HeaderValue::from_bytes(&vec![b'x'; 2 << 20]).unwrap();
    request.headers_mut().insert("x", large);
    let error = nodes.call(request).await.unwrap_err();
    assert!(matches!(error.kind, UpstreamErrorKind::Request(_)) && error.never_begun, "{error}");
}

//! What is said between the server and workers, and between workers.

use wrun_protocol::wire::service::Readied;

use super::*;

pub(super) fn add_worker_messages(lines: &mut Lines) {
    let content = || Content::Inline(Bytes::from_static(b"state"));
    lines.add_all(
        "worker.ToWorker",
        [
            ToWorker::Welcome {
                lease_ms: 10_000,
                heartbeat_ms: 2000,
                now: AT,
                stale: vec![ATTEMPT],
            },
            ToWorker::Job {
                job: JOB,
                tenant: tenant(),
                kind: ComponentKind::Handler,
                spec: encoded(),
            },
            ToWorker::Assign(vec![TASKS]),
            ToWorker::Resume { attempt: ATTEMPT, checkpoint: content() },
            ToWorker::Stop(vec![TASKS]),
            ToWorker::Recall(vec![TASKS]),
            ToWorker::Forget(JOB),
            ToWorker::Freeze { attempt: ATTEMPT, frozen: true },
            ToWorker::Acknowledge { report: 17 },
            ToWorker::HeartbeatAck { beat: 18 },
            ToWorker::AssignWith { tasks: TASKS, grant: Grant { request: 1, gpus: vec![0, 3] } },
            ToWorker::Preempt { attempt: ATTEMPT, notice_ms: 30_000 },
            ToWorker::ResumeWith {
                attempt: ATTEMPT,
                checkpoint: content(),
                grant: Grant { request: 1, gpus: vec![0, 3] },
            },
            ToWorker::Gang { job: JOB, attempt: 2, members: vec![member()] },
        ],
    );
    lines.add_all("worker.ToWorker", services::to_worker());
    let reports = [
        Report::Started(TASKS),
        Report::Succeeded { tasks: TASKS, usage: USAGE },
        Report::Ended { attempt: ATTEMPT, result: Box::new(result()) },
        Report::Returned(TASKS),
        Report::Checkpoint { attempt: ATTEMPT, content: content() },
        Report::Preempted { attempt: ATTEMPT, usage: USAGE },
        Report::Readied { attempt: ATTEMPT, state: Readied::Ready },
    ];
    for (number, report) in reports.iter().enumerate() {
        lines.add(&format!("worker.Report.{number}"), report);
    }
    lines.add_all(
        "worker.FromWorker",
        [
            FromWorker::Hello { info: info(), incarnation: 99, attempts: vec![TASKS] },
            FromWorker::Reports { first: 17, reports: reports[..5].to_vec() },
            FromWorker::Progress { attempt: ATTEMPT, permille: 500, message: "half".into() },
            FromWorker::Heartbeat { beat: 18 },
            FromWorker::Draining,
            FromWorker::Goodbye,
            FromWorker::Offer(offer()),
            FromWorker::Listens(address()),
        ],
    );
    lines.add_all("worker.FromWorker", services::from_worker());
    lines.add_all("worker.FromWorker", models::from_worker());
    lines.add_all("worker.FromWorker", [FromWorker::AskMembers(JOB)]);
    lines.add_all(
        "worker.BlobRequest",
        [
            BlobRequest::Get { job: JOB, digest: DIGEST },
            BlobRequest::Put { job: JOB, digest: DIGEST, size: 70_000 },
            BlobRequest::Model { job: JOB, digest: DIGEST, held: true },
        ],
    );
    lines.add_all(
        "worker.BlobReply",
        [BlobReply::Found { size: 70_000 }, BlobReply::Stored, BlobReply::Refused(refusal())],
    );
    let live = [LiveRequest::Follow(TASK), LiveRequest::Attach(TASK), models::asked()];
    lines.add_all("worker.LiveRequest", live);
    let chunk = LogChunk { stream: LogStream::Stdout, data: Bytes::from_static(b"line\n") };
    let model = LiveReply::Model(Some(Box::new(models::loaded())));
    let live = [LiveReply::Log(chunk), LiveReply::NotHere, LiveReply::Here, model];
    lines.add_all("worker.LiveReply", live);
}

pub(super) fn add_peer_messages(lines: &mut Lines) {
    let route = Route { from: 1, to: 300 };
    lines.add_all(
        "peer.FromPeer",
        [
            FromPeer::Open { job: JOB, attempt: 2 },
            FromPeer::Begin(route),
            FromPeer::Message { route, size: 70_000 },
            FromPeer::Offer { route, size: 70_000 },
            FromPeer::AtBarrier(route),
            FromPeer::Ended(route),
            FromPeer::Request { attempt: ATTEMPT },
        ],
    );
    let refusals = [Refusal::Stale { current: 3 }, Refusal::Unknown, Refusal::NotAMember];
    lines.add_all("peer.Refusal", refusals);
    lines.add_all(
        "peer.ToPeer",
        [
            ToPeer::Opened,
            ToPeer::Refused(Refusal::Unknown),
            ToPeer::Credit { route, bytes: 65_536 },
            ToPeer::Wanted(route),
            ToPeer::Gone(route),
        ],
    );
    add_forwarded_requests(lines);
}

fn add_forwarded_requests(lines: &mut Lines) {
    let fields =
        || vec![Field { name: "accept".to_owned(), value: Bytes::from_static(b"text/plain") }];
    lines.add(
        "forward.RequestHead",
        RequestHead {
            method: "POST".to_owned(),
            uri: "http://a.example/b?c".to_owned(),
            fields: fields(),
            within_ms: 60_000,
            has_body: true,
        },
    );
    let head = ResponseHead { status: 200, fields: fields(), has_body: false };
    lines.add_all(
        "forward.Answer",
        [Answer::Response(head), Answer::Failed(CallFailure::TimedOut { begun: true })],
    );
    let message = || "why".to_owned();
    lines.add_all(
        "forward.CallFailure",
        [
            CallFailure::NotHere,
            CallFailure::Busy,
            CallFailure::Draining,
            CallFailure::TimedOut { begun: false },
            CallFailure::Request { problem: message() },
            CallFailure::Setup { message: message() },
            CallFailure::Guest { message: message() },
            CallFailure::Stopped,
        ],
    );
    lines.add_all(
        "forward.Piece",
        [
            Piece::Data { size: 70_000 },
            Piece::End,
            Piece::Trailers(fields()),
            Piece::Broken { why: message() },
        ],
    );
}

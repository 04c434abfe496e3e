//! The server's side of a session, as a test plays it.

use super::*;

/// The other end of a session.
pub(in crate::tests) struct Server {
    pub(in crate::tests) connection: Connection,
    send: SendStream,
    recv: RecvStream,
    inbox: VecDeque<FromWorker>,
    /// Whether heartbeats are acknowledged.
    pub(in crate::tests) answers: bool,
    pub(in crate::tests) beats: u64,
}

impl Server {
    /// The server's end of a session on `connection`, and what the worker says it holds.
    pub(in crate::tests) async fn accept(connection: Connection) -> (Self, Vec<Assignment>) {
        let (send, recv) = connection.accept().await.unwrap();
        let inbox = VecDeque::new();
        let mut server = Self { connection, send, recv, inbox, answers: true, beats: 0 };
        let mut first = server.next().await;
        while matches!(
            first,
            FromWorker::Listens(_)
                | FromWorker::Gateway(_)
                | FromWorker::Inference(_)
                | FromWorker::Offer(_)
        ) {
            first = server.next().await;
        }
        match first {
            FromWorker::Hello { attempts, info, .. } => {
                assert_eq!(info.name, "node");
                (server, attempts)
            }
            other => panic!("expected Hello, got {other:?}"),
        }
    }

    pub(in crate::tests) async fn welcome(&mut self) {
        self.welcome_with(Vec::new()).await;
    }

    pub(in crate::tests) async fn welcome_with(&mut self, stale: Vec<wrun_protocol::AttemptId>) {
        let lease_ms = LEASE.as_millis() as u64;
        self.say(ToWorker::Welcome {
            lease_ms,
            heartbeat_ms: HEARTBEAT.as_millis() as u64,
            now: Timestamp(0),
            stale,
        })
        .await;
    }

    pub(in crate::tests) async fn say(&mut self, message: ToWorker) {
        self.send.send(&message).await.unwrap();
    }

    pub(in crate::tests) async fn job(&mut self, job: u64, spec: &JobSpec) {
        self.job_of(job, ComponentKind::Command, spec).await;
    }

    /// Tells of the job of a service that answers requests.
    pub(in crate::tests) async fn service(&mut self, job: u64, spec: &JobSpec) {
        self.job_of(job, ComponentKind::Http, spec).await;
    }

    async fn job_of(&mut self, job: u64, kind: ComponentKind, spec: &JobSpec) {
        let message = ToWorker::Job {
            job: JobId(job),
            tenant: "lab".parse().unwrap(),
            kind,
            spec: EncodedSpec::encode(spec).unwrap(),
        };
        self.say(message).await;
    }

    pub(in crate::tests) async fn assign(&mut self, job: u64, range: std::ops::Range<u32>) {
        self.say(ToWorker::Assign(vec![tasks(job, range)])).await;
    }

    async fn poll(&mut self) -> Option<FromWorker> {
        loop {
            let message = match self.inbox.pop_front() {
                Some(message) => message,
                None => self.recv.recv().await.ok()??,
            };
            match message {
                FromWorker::Heartbeat { beat } => {
                    assert_eq!(beat, self.beats.max(beat - 1) + 1);
                    self.beats = beat;
                    if self.answers {
                        // A session that ends meanwhile ends with the next message too.
                        let _ = self.send.send(&ToWorker::HeartbeatAck { beat }).await;
                    }
                }
                other => return Some(other),
            }
        }
    }

    /// The next message that is no heartbeat.
    pub(in crate::tests) async fn next(&mut self) -> FromWorker {
        let next = tokio::time::timeout(Duration::from_secs(60), self.poll()).await;
        next.expect("a message within a minute").expect("the session goes on")
    }

    /// The next reports and the number of the first.
    pub(in crate::tests) async fn reports(&mut self) -> (u64, Vec<Report>) {
        match self.next().await {
            FromWorker::Reports { first, reports } => (first, reports),
            other => panic!("expected reports, got {other:?}"),
        }
    }

    /// The next report, which comes alone.
    pub(in crate::tests) async fn report(&mut self) -> Report {
        let (_, mut reports) = self.reports().await;
        assert_eq!(reports.len(), 1, "{reports:?}");
        reports.remove(0)
    }

    /// Nothing but heartbeats comes for `time`.
    pub(in crate::tests) async fn quiet_for(&mut self, time: Duration) {
        if let Ok(Some(message)) = tokio::time::timeout(time, self.poll()).await {
            panic!("nobody expected {message:?}");
        }
    }

    pub(in crate::tests) async fn quiet(&mut self) {
        self.quiet_for(Duration::from_millis(80)).await;
    }

    /// The worker ends the session.
    pub(in crate::tests) async fn ends(&mut self) {
        let end = tokio::time::timeout(Duration::from_secs(60), self.poll()).await;
        assert_eq!(end.expect("it ends within a minute"), None);
    }

    /// The next blob that the worker asks for.
    pub(in crate::tests) async fn blob_request(&self) -> (BlobRequest, SendStream, RecvStream) {
        let (send, mut recv) = self.connection.accept().await.unwrap();
        let request = recv.recv().await.unwrap().unwrap();
        (request, send, recv)
    }

    /// Answers the next download with `bytes`, whatever was asked for.
    pub(in crate::tests) async fn answer_blob(&self, bytes: &[u8]) -> Digest {
        let (request, mut send, _recv) = self.blob_request().await;
        let BlobRequest::Get { digest, .. } = request else { panic!("{request:?}") };
        send.send(&BlobReply::Found { size: bytes.len() as u64 }).await.unwrap();
        send.write_raw(bytes).await.unwrap();
        send.finish_and_wait().await.unwrap();
        digest
    }

    /// Answers the next download, which is for these bytes.
    pub(in crate::tests) async fn serve_blob(&self, bytes: &[u8]) {
        assert_eq!(self.answer_blob(bytes).await, digest(bytes));
    }

    /// Takes the next upload.
    pub(in crate::tests) async fn take_blob(&self) -> (Digest, Vec<u8>) {
        let (request, mut send, mut recv) = self.blob_request().await;
        let BlobRequest::Put { digest: named, size, .. } = request else { panic!("{request:?}") };
        let mut bytes = Vec::new();
        while let Some(chunk) = recv.read_chunk(1 << 20).await.unwrap() {
            bytes.extend_from_slice(&chunk);
        }
        assert_eq!(bytes.len() as u64, size);
        assert_eq!(digest(&bytes), named);
        send.send(&BlobReply::Stored).await.unwrap();
        send.finish_and_wait().await.unwrap();
        (named, bytes)
    }
}

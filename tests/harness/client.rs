//! A user's connection, for tests that ask more often than starting the binary allows.

use std::path::Path;
use std::time::{Duration, Instant};

use wrun_net::{Connection, Credential};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{
    JobDetail, JobFilter, JobProgress, JobSummary, NodeSummary, Request, RequestError, Response,
    Submission, TaskDetail,
};
use wrun_protocol::wire::workflow::WorkflowDetail;
use wrun_protocol::workflow::{EncodedWorkflow, Workflow};
use wrun_protocol::{Digest, JobId, JobSpec, SubmitId};

use crate::process::PATIENCE;
use crate::random::Random;

/// A connection with what it takes to make it again.
pub struct Client {
    credential: Credential,
    connection: Connection,
    random: Random,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", &self.credential.server).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects with the credential in the file; waits for a server to be there.
    pub async fn connect(credential: &Path) -> Self {
        let credential = Credential::load(credential).unwrap();
        let connection = reach(&credential).await;
        Self { credential, connection, random: Random::from_environment() }
    }

    /// Connects again, after the server was restarted.
    pub async fn reconnect(&mut self) {
        self.connection = reach(&self.credential).await;
    }

    /// The connection itself.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// One request with one answer. `Err` where the connection broke.
    pub async fn ask(&self, request: &Request) -> Result<Response, String> {
        let (mut send, mut receive) = self.connection.open().await.map_err(|e| e.to_string())?;
        send.send(request).await.map_err(|e| e.to_string())?;
        send.finish().map_err(|e| e.to_string())?;
        match receive.recv().await.map_err(|e| e.to_string())? {
            Some(response) => Ok(response),
            None => Err("the stream ended without an answer".to_owned()),
        }
    }

    /// A name for a submission that nobody used before.
    pub fn submit_id(&mut self) -> SubmitId {
        let (high, low) = (self.random.number(), self.random.number());
        SubmitId((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
    }

    /// Uploads a blob.
    pub async fn upload(&self, bytes: &[u8]) -> Digest {
        let digest = digest(bytes);
        let missing = self.ask(&Request::MissingBlobs(vec![digest])).await.unwrap();
        if missing == Response::Missing(Vec::new()) {
            return digest;
        }
        let (mut send, mut receive) = self.connection.open().await.unwrap();
        send.send(&Request::PutBlob { digest, size: bytes.len() as u64 }).await.unwrap();
        send.write_raw(bytes).await.unwrap();
        send.finish().unwrap();
        assert_eq!(receive.recv::<Response>().await.unwrap(), Some(Response::Done));
        digest
    }

    /// Submits one job under `id`; the outer error is a broken connection.
    pub async fn submit_as(
        &self,
        id: SubmitId,
        spec: &JobSpec,
    ) -> Result<Result<JobId, RequestError>, String> {
        let spec = EncodedSpec::encode(spec).unwrap();
        match self.ask(&Request::Submit(vec![Submission { id, spec }])).await? {
            Response::Submitted(mut answers) if answers.len() == 1 => Ok(answers.remove(0)),
            Response::Refused(error) => Ok(Err(error)),
            other => panic!("unexpected answer to a submit: {other:?}"),
        }
    }

    /// Submits one job that must be accepted.
    pub async fn submit(&mut self, spec: &JobSpec) -> JobId {
        let id = self.submit_id();
        self.submit_as(id, spec).await.unwrap().unwrap()
    }

    /// A job that must exist.
    pub async fn job(&self, job: JobId) -> JobDetail {
        match self.ask(&Request::Job(job)).await.unwrap() {
            Response::Job(detail) => *detail,
            other => panic!("unexpected answer: {other:?}"),
        }
    }

    /// Every task of a job, page by page.
    pub async fn tasks(&self, job: JobId) -> Vec<TaskDetail> {
        let mut all: Vec<TaskDetail> = Vec::new();
        loop {
            let from = all.last().map_or(0, |task| task.index + 1);
            let request = Request::Tasks { job, from, limit: 1000, state: None };
            match self.ask(&request).await.unwrap() {
                Response::Tasks(page) if page.is_empty() => return all,
                Response::Tasks(page) => all.extend(page),
                other => panic!("unexpected answer: {other:?}"),
            }
        }
    }

    /// The newest jobs of the caller's tenant.
    pub async fn jobs(&self) -> Vec<JobSummary> {
        let filter = JobFilter { limit: 1000, ..JobFilter::default() };
        match self.ask(&Request::Jobs(filter)).await.unwrap() {
            Response::Jobs(jobs) => jobs,
            other => panic!("unexpected answer: {other:?}"),
        }
    }

    /// The nodes.
    pub async fn nodes(&self) -> Vec<NodeSummary> {
        match self.ask(&Request::Nodes).await.unwrap() {
            Response::Nodes(nodes) => nodes,
            other => panic!("unexpected answer: {other:?}"),
        }
    }

    /// The output of a task, inline.
    pub async fn output(&self, job: JobId, index: u32) -> Vec<u8> {
        match self.ask(&Request::Output { job, index }).await.unwrap() {
            Response::Output(Content::Inline(bytes)) => bytes.to_vec(),
            other => panic!("unexpected answer: {other:?}"),
        }
    }

    /// Submits a workflow.
    pub async fn submit_workflow(&mut self, workflow: &Workflow) -> JobId {
        let workflow = EncodedWorkflow::encode(workflow).unwrap();
        let request = Request::SubmitWorkflow { id: self.submit_id(), workflow };
        self.submitted(&request).await.unwrap()
    }

    /// Runs a workflow again.
    pub async fn rerun(&mut self, job: JobId, from: Option<&str>) -> Result<JobId, RequestError> {
        let from = from.map(str::to_owned);
        let request = Request::Rerun { id: self.submit_id(), job, from };
        self.submitted(&request).await
    }

    async fn submitted(&self, request: &Request) -> Result<JobId, RequestError> {
        match self.ask(request).await.unwrap() {
            Response::Submitted(mut answers) if answers.len() == 1 => answers.remove(0),
            Response::Refused(error) => Err(error),
            other => panic!("unexpected answer: {other:?}"),
        }
    }

    /// A workflow, by its own number or that of a step's job.
    pub async fn workflow(&self, job: JobId) -> WorkflowDetail {
        match self.ask(&Request::Workflow(job)).await.unwrap() {
            Response::Workflow(detail) => *detail,
            other => panic!("unexpected answer: {other:?}"),
        }
    }

    /// Follows a job to its end. `Err` where the connection broke.
    pub async fn watch(&self, job: JobId) -> Result<JobProgress, String> {
        let (mut send, mut receive) = self.connection.open().await.map_err(|e| e.to_string())?;
        send.send(&Request::Watch(job)).await.map_err(|e| e.to_string())?;
        loop {
            match receive.recv().await.map_err(|e| e.to_string())? {
                Some(Response::Progress(progress)) if progress.state.is_terminal() => {
                    return Ok(progress);
                }
                Some(Response::Progress(_)) => {}
                other => return Err(format!("unexpected answer: {other:?}")),
            }
        }
    }

    /// Waits for the end of a job.
    pub async fn wait(&self, job: JobId) -> JobProgress {
        tokio::time::timeout(PATIENCE * 3, self.watch(job)).await.expect("the job ends").unwrap()
    }
}

async fn reach(credential: &Credential) -> Connection {
    let begun = Instant::now();
    let identity = credential.identity().unwrap();
    let authority = credential.authority_der().unwrap();
    loop {
        match wrun_net::connect(&credential.server, &identity, &authority).await {
            Ok(connection) => return connection,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "no server: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The SHA-256 of `bytes`.
pub fn digest(bytes: &[u8]) -> Digest {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    Digest(hash.as_ref().try_into().unwrap())
}

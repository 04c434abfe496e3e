//! Setting a job up on this node: its files from the cache, its component compiled, its
//! mounts linked. Off the agent's task, a bounded number at a time.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wrun_gateway::Gateway;
use wrun_protocol::job::Input;
use wrun_protocol::task::Content;
use wrun_protocol::wire::model::Kept;
use wrun_protocol::{Digest, JobId, limits};
use wrun_sandbox::{GrantedModel, JobContext};

use crate::artefacts::{Artefacts, Pinned};
use crate::blobs::blocking;
use crate::executor::Executor;
use crate::floor::Floor;
use crate::items::{Items, Source};
use crate::job::{Job, JobFiles, Setup, SharedInput};
use crate::models;
use crate::mounts::MountTree;
use crate::service::Caller;

/// Jobs that are set up at once; more wait.
const AT_ONCE: usize = 32;

/// Checkpoints that are read into memory at once; more wait.
const RESUMED_AT_ONCE: usize = 4;

/// Compiled components that are kept ready without a job that uses them.
const MAX_PROGRAMS: usize = 64;

/// Sets jobs up.
pub(crate) struct Workshop<E: Executor> {
    floor: Arc<Floor<E>>,
    artefacts: Arc<Artefacts>,
    mounts: PathBuf,
    gateway: Gateway,
    programs: Mutex<Programs<E>>,
    permits: Semaphore,
    resumes: Semaphore,
}

/// A component, and whether for deterministic executions.
type Wanted = (Digest, bool);

struct Programs<E: Executor> {
    ready: HashMap<Wanted, (Arc<E::Program>, u64)>,
    clock: u64,
}

impl<E: Executor> Workshop<E> {
    /// Trees of mounted files are built in `mounts`; guests reach services through `gateway`.
    pub(crate) fn new(
        floor: Arc<Floor<E>>,
        artefacts: Arc<Artefacts>,
        mounts: PathBuf,
        gateway: Gateway,
    ) -> Self {
        Self {
            floor,
            artefacts,
            mounts,
            gateway,
            programs: Mutex::new(Programs { ready: HashMap::new(), clock: 0 }),
            permits: Semaphore::new(AT_ONCE),
            resumes: Semaphore::new(RESUMED_AT_ONCE),
        }
    }

    /// The set-up of a job for which everything is at hand, without waiting.
    pub(crate) fn set_up_now(&self, job: &Job<E>) -> Option<Setup<E>> {
        let input = match &job.spec.input {
            Input::Content(Content::Blob { .. }) => return None,
            Input::Content(Content::Inline(bytes)) => SharedInput::Bytes(bytes.clone()),
            Input::Empty => SharedInput::Empty,
            Input::Attached => SharedInput::Attached,
            Input::Each(Content::Inline(bytes)) => {
                SharedInput::Each(self.items(job, Source::Memory(bytes.clone())).ok()?)
            }
            Input::Each(Content::Blob { .. }) => return None,
        };
        if !job.spec.mounts.is_empty() || !job.spec.inference.models.is_empty() {
            return None;
        }
        let program = self.program((job.spec.component, job.is_deterministic()))?;
        (E::kind(&program) == job.kind).then(|| Setup {
            program,
            context: self.context(job, Vec::new(), Vec::new()),
            input,
            keys: job.keys(),
            _files: JobFiles::default(),
        })
    }

    fn program(&self, wanted: Wanted) -> Option<Arc<E::Program>> {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        programs.clock += 1;
        let now = programs.clock;
        let (program, used) = programs.ready.get_mut(&wanted)?;
        *used = now;
        Some(program.clone())
    }

    fn keep_program(&self, wanted: Wanted, program: &Arc<E::Program>) {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        programs.clock += 1;
        let now = programs.clock;
        programs.ready.insert(wanted, (program.clone(), now));
        if programs.ready.len() > MAX_PROGRAMS {
            let oldest = programs.ready.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(wanted, _)| *wanted) {
                programs.ready.remove(&oldest);
            }
        }
    }

    /// Gets everything that the job's tasks need. The error is for the user.
    pub(crate) async fn set_up(&self, job: &Job<E>) -> Result<Setup<E>, String> {
        let _permit = self.permits.acquire().await.map_err(|error| error.to_string())?;
        let models = models::obtain(&self.artefacts, job.id, &job.spec.inference.models);
        let (program, (input, input_pin), (mounts, mut pins, tree), (models, model_pins)) =
            tokio::try_join!(self.compile(job), self.input(job), self.mount(job), models)?;
        pins.extend(input_pin.into_iter().chain(model_pins));
        // On a card they are loaded for each replica that was given one.
        if job.spec.service.is_some()
            && !job.may_have_cards()
            && let Some(engine) = self.floor.executor().inference()
        {
            models::warm(engine, &job.tenant, &models, &[]).await?;
        }
        let context = self.context(job, mounts, models);
        let (keys, files) = (job.keys(), JobFiles::new(pins, tree));
        Ok(Setup { program, context, input, keys, _files: files })
    }

    /// The models that this node keeps and how, at most `most`.
    pub(crate) fn kept_models(&self, most: usize) -> BTreeMap<Digest, Kept> {
        models::kept(self.floor.executor().inference(), &self.artefacts, most)
    }

    fn context(
        &self,
        job: &Job<E>,
        mounts: Vec<(String, PathBuf)>,
        models: Vec<GrantedModel>,
    ) -> Arc<JobContext> {
        // Without a grant of the network no request gets that far.
        let calls = !job.spec.network.is_empty();
        let caller = calls.then(|| Caller::new(self.gateway.clone(), job.tenant.clone()));
        Arc::new(job.context(mounts, models, caller.map(|caller| Arc::new(caller) as _)))
    }

    async fn obtain(&self, job: JobId, what: &str, digest: Digest) -> Result<Pinned, String> {
        let obtained = self.artefacts.obtain(job, digest).await;
        obtained.map_err(|error| format!("{what}: {error}"))
    }

    async fn compile(&self, job: &Job<E>) -> Result<Arc<E::Program>, String> {
        let (digest, deterministic) = (job.spec.component, job.is_deterministic());
        let program = match self.program((digest, deterministic)) {
            Some(program) => program,
            None => {
                let file = self.obtain(job.id, "the component", digest).await?;
                let path = file.path().to_owned();
                let compiled = self.floor.executor().compile(digest, deterministic, path);
                let program = compiled.await.map_err(|error| error.to_string())?;
                self.keep_program((digest, deterministic), &program);
                program
            }
        };
        if E::kind(&program) == job.kind {
            Ok(program)
        } else {
            Err("the component does not export what the job was accepted for".to_owned())
        }
    }

    async fn input(&self, job: &Job<E>) -> Result<(SharedInput, Option<Pinned>), String> {
        Ok(match &job.spec.input {
            Input::Empty => (SharedInput::Empty, None),
            Input::Attached => (SharedInput::Attached, None),
            Input::Content(Content::Inline(bytes)) => (SharedInput::Bytes(bytes.clone()), None),
            Input::Content(Content::Blob { digest, .. }) => {
                let file = self.obtain(job.id, "the input", *digest).await?;
                (SharedInput::File(file.path().to_owned()), Some(file))
            }
            Input::Each(Content::Inline(bytes)) => {
                (SharedInput::Each(self.items(job, Source::Memory(bytes.clone()))?), None)
            }
            Input::Each(Content::Blob { digest, size }) => {
                let file = self.obtain(job.id, "the items", *digest).await?;
                let open =
                    File::open(file.path()).map_err(|error| format!("the items: {error}"))?;
                (SharedInput::Each(self.items(job, Source::File(open, *size))?), Some(file))
            }
        })
    }

    fn items(&self, job: &Job<E>, source: Source) -> Result<Arc<Items>, String> {
        let (artefacts, io) = (Arc::clone(&self.artefacts), Handle::current());
        let items = Items::open(source, job.spec.count, job.id, artefacts, io);
        Ok(Arc::new(items.map_err(|error| format!("the items: {error}"))?))
    }

    async fn mount(
        &self,
        job: &Job<E>,
    ) -> Result<(Vec<(String, PathBuf)>, Vec<Pinned>, Option<MountTree>), String> {
        if job.spec.mounts.is_empty() {
            return Ok((Vec::new(), Vec::new(), None));
        }
        let files = job.spec.mounts.iter().map(|mount| async move {
            let what = format!("mounts: `{}`", mount.path);
            let file = self.obtain(job.id, &what, mount.digest).await?;
            Ok::<_, String>((mount.path.clone(), file))
        });
        let files = try_join_all(files).await?;
        let links: Vec<_> =
            files.iter().map(|(path, file)| (path.clone(), file.path().to_owned())).collect();
        let (dir, id) = (self.mounts.clone(), job.id);
        let (tree, mounts) = blocking(move || MountTree::build(&dir, id, &links))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        Ok((mounts, files.into_iter().map(|(_, file)| file).collect(), Some(tree)))
    }

    /// The bytes of a checkpoint. The error is for the user.
    pub(crate) async fn checkpoint(&self, job: JobId, content: Content) -> Result<Bytes, String> {
        let (digest, size) = match content {
            Content::Inline(bytes) => return Ok(bytes),
            Content::Blob { digest, size } => (digest, size),
        };
        if size > limits::MAX_CHECKPOINT {
            return Err(format!("the checkpoint has {size} bytes, which is too large"));
        }
        let _permit = self.resumes.acquire().await.map_err(|error| error.to_string())?;
        let file = self.obtain(job, "the checkpoint", digest).await?;
        let path = file.path().to_owned();
        let read =
            blocking(move || std::fs::read(path)).await.map_err(|error| error.to_string())?;
        read.map(Bytes::from).map_err(|error| format!("the checkpoint: {error}"))
    }
}

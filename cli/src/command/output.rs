//! `wrun output`: what tasks made, to standard output or to files.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use wrun_protocol::JobId;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{Request, Response};

use super::workflow::{self, Found};
use super::{Context, Ended, logs};
use crate::client::blob::Download;
use crate::client::{Client, unexpected};
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::report::json;
use crate::syntax::query::Output;

/// Largest output that is put into one JSON line.
const MOST_JSON: usize = 64 << 20;

/// Writes one task's output, or that of all tasks.
pub(crate) async fn output(context: &Context, args: &Output) -> Ended {
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let mut job = workflow::job_of(&client, args.job, args.step.as_deref()).await?;
    if let (None, Found::Workflow(detail)) = (args.task, workflow::find(&client, job).await?) {
        match (workflow::results(&detail).as_slice(), &args.output) {
            ([one], _) => job = *one,
            (_, None) => {
                workflow::print_results(&client, console, &detail, false).await?;
                client.close().await;
                return Ok(Exit::Success);
            }
            _ => return Err(workflow::choose(&detail)),
        }
    }
    let tasks = match args.task {
        Some(task) => task..task.saturating_add(1),
        None => 0..logs::count_of(&logs::detail(&client, job).await?),
    };
    let single = tasks.len() == 1;
    match &args.output {
        None => {
            for index in tasks {
                print_task(&client, console, job, index, false).await?;
            }
        }
        Some(path) if is_folder(path) => {
            fs::create_dir_all(path)
                .map_err(|cause| Error::file("make the folder", path, &cause))?;
            for index in tasks {
                let file = path.join(index.to_string());
                write_tasks(&client, console, job, index..index + 1, &file).await?;
            }
        }
        Some(path) => {
            if !single && console.wants_json() {
                let text = "the outputs of several tasks in one file cannot be told apart in JSON";
                return Err(Error::new(Exit::InvalidInput, text).todo("name a folder: -o DIR/"));
            }
            write_tasks(&client, console, job, tasks, path).await?;
        }
    }
    client.close().await;
    Ok(Exit::Success)
}

fn is_folder(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().to_string_lossy().ends_with('/')
}

async fn content(client: &Client, job: JobId, index: u32) -> Result<Content, Error> {
    match client.ask(&Request::Output { job, index }).await? {
        Response::Output(content) => Ok(content),
        other => Err(unexpected(&other)),
    }
}

/// Prints one task's output; as an event among others in JSON, if `among_events`.
pub(crate) async fn print_task(
    client: &Client,
    console: Console,
    job: JobId,
    index: u32,
    among_events: bool,
) -> Result<(), Error> {
    let content = content(client, job, index).await?;
    let size = content.size();
    let mut download = Download::start(client, content).await?;
    if console.wants_json() {
        let bytes = download.whole(MOST_JSON).await?;
        let data = Some(bytes.as_ref().into());
        let output = json::TaskOutput { task: index, size, file: None, data };
        return if among_events {
            console.json(&json::Event::Output(output))
        } else {
            console.json(&output)
        };
    }
    while let Some(chunk) = download.next().await? {
        console.bytes(&chunk)?;
    }
    Ok(())
}

/// Writes beside the file and renames at the end: a file that is there is whole.
async fn write_tasks(
    client: &Client,
    console: Console,
    job: JobId,
    tasks: std::ops::Range<u32>,
    path: &Path,
) -> Result<(), Error> {
    let failed = |cause: std::io::Error| Error::file("write", path, &cause);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let is_special = fs::metadata(path).is_ok_and(|meta| !meta.is_file());
    let mut target: Target = if is_special {
        Target::Special(fs::OpenOptions::new().write(true).open(path).map_err(failed)?)
    } else {
        let beside = tempfile::Builder::new()
            .prefix(".wrun-output-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            .map_err(failed)?;
        Target::Beside(beside, path.to_owned())
    };
    let first = tasks.start;
    let mut size = 0;
    for index in tasks {
        let content = content(client, job, index).await?;
        let mut download = Download::start(client, content).await?;
        while let Some(chunk) = download.next().await? {
            size += chunk.len() as u64;
            target.file().write_all(&chunk).map_err(failed)?;
        }
    }
    target.finish().map_err(failed)?;
    if console.wants_json() {
        let file = Some(path.display().to_string());
        console.json(&json::TaskOutput { task: first, size, file, data: None })?;
    }
    Ok(())
}

enum Target {
    Special(File),
    Beside(tempfile::NamedTempFile, PathBuf),
}

impl Target {
    fn file(&mut self) -> &mut File {
        match self {
            Self::Special(file) => file,
            Self::Beside(file, _) => file.as_file_mut(),
        }
    }

    fn finish(self) -> std::io::Result<()> {
        match self {
            Self::Special(mut file) => file.flush(),
            Self::Beside(file, path) => file.persist(path).map(drop).map_err(|error| error.error),
        }
    }
}

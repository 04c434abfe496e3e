//! What a simulation writes beside what it prints.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::error::Error;
use crate::report::simulation;
use crate::simulate::driver::Run;
use crate::simulate::plot::{self, Figure};
use crate::simulate::table;
use crate::simulate::trace::Job;
use crate::syntax::simulate::Simulate;

/// Files that were asked for. They are made before anything is simulated, so that a
/// folder that is not there is told at once.
pub(super) struct Files<'a> {
    jobs: Option<(&'a Path, BufWriter<File>)>,
    plot: Option<(&'a Path, BufWriter<File>)>,
}

impl<'a> Files<'a> {
    /// Makes them, empty.
    pub(super) fn create(args: &'a Simulate) -> Result<Self, Error> {
        let create = |path: &'a Path| match File::create(path) {
            Ok(file) => Ok((path, BufWriter::new(file))),
            Err(cause) => Err(Error::file("write", path, &cause)),
        };
        let mut jobs = args.jobs_csv.as_deref().map(create).transpose()?;
        if let Some((path, file)) = &mut jobs {
            table::write_header(file).map_err(|cause| Error::file("write", path, &cause))?;
        }
        Ok(Self { jobs, plot: args.plot.as_deref().map(create).transpose()? })
    }

    /// Adds the jobs of a run.
    pub(super) fn write_jobs(
        &mut self,
        first: usize,
        jobs: &[Job],
        users: &[Box<str>],
        run: &Run,
    ) -> Result<(), Error> {
        let Some((path, file)) = &mut self.jobs else { return Ok(()) };
        table::write_rows(file, first, jobs, users, &run.outcomes)
            .map_err(|cause| Error::file("write", path, &cause))
    }

    /// Draws a run; one alone has a picture.
    pub(super) fn write_plot(
        &mut self,
        args: &Simulate,
        jobs: usize,
        nodes: usize,
        run: &Run,
    ) -> Result<(), Error> {
        let Some((path, file)) = &mut self.plot else { return Ok(()) };
        let Some(format) = plot::Format::of(path) else { return Ok(()) };
        let name =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let title = match &args.policy {
            Some(policy) => format!("{} under {}", name(&args.trace), name(policy)),
            None => name(&args.trace),
        };
        let subtitle = simulation::subtitle(jobs, nodes, &run.capacity);
        let figure = Figure {
            title: &title,
            subtitle: &subtitle,
            series: &run.series,
            capacity: run.capacity,
        };
        plot::write(&figure, format, file).map_err(|cause| Error::file("write", path, &cause))
    }

    /// Whatever is still in memory is written; a full disk shows here at the latest.
    pub(super) fn finish(self) -> Result<(), Error> {
        for (path, mut file) in self.jobs.into_iter().chain(self.plot) {
            file.flush().map_err(|cause| Error::file("write", path, &cause))?;
        }
        Ok(())
    }
}

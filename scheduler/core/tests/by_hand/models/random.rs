//! Any order of pushes, removals, shares and jobs, beside a plain model of what is meant: tags
//! in a map, and for each job what it may load. The harness compares recovery with it each time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use wrun_core::{Answer, Input, RequestId};
use wrun_protocol::wire::model::Pushed;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::{Digest, JobId, JobSpec};

use crate::cluster::{Cluster, answer};

/// Few, so that what was shared is also used and taken away.
const TENANTS: [&str; 2] = ["ann", "bob"];
const NAMES: [&str; 1] = ["vad"];
const TAGS: [&str; 2] = ["latest", "v2"];

type Model = (usize, usize);
/// A version by its model, and by the number that its bytes are told apart by.
type Version = (Model, u8);

#[derive(Clone, Debug)]
enum Step {
    Push {
        model: Model,
        tag: usize,
        number: u8,
    },
    Remove {
        model: Model,
        tag: usize,
        force: bool,
    },
    Share {
        model: Model,
        with: usize,
    },
    Unshare {
        model: Model,
        with: usize,
        force: bool,
    },
    /// Submits a job that names the tags as they are now.
    Submit {
        by: usize,
        tags: Vec<(Model, usize)>,
    },
    /// Submits once more what was submitted as the so-many-th.
    Again {
        earlier: prop::sample::Index,
    },
    Cancel {
        job: prop::sample::Index,
    },
}

fn steps() -> impl Strategy<Value = Step> {
    let model = || (0..TENANTS.len(), 0..NAMES.len());
    let tag = || 0..TAGS.len();
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (model(), tag(), 1..4_u8)
            .prop_map(|(model, tag, number)| Step::Push { model, tag, number }),
        2 => (model(), tag(), any::<bool>())
            .prop_map(|(model, tag, force)| Step::Remove { model, tag, force }),
        2 => (model(), 0..TENANTS.len()).prop_map(|(model, with)| Step::Share { model, with }),
        2 => (model(), 0..TENANTS.len(), any::<bool>())
            .prop_map(|(model, with, force)| Step::Unshare { model, with, force }),
        6 => (0..TENANTS.len(), vec((model(), tag(), any::<bool>()), 1..3))
            .prop_map(|(by, tags)| {
                // Rather one's own: what others have may not be shared.
                let own = |((of, name), tag, own)| ((if own { by } else { of }, name), tag);
                Step::Submit { by, tags: tags.into_iter().map(own).collect() }
            }),
        2 => index().prop_map(|earlier| Step::Again { earlier }),
        2 => index().prop_map(|job| Step::Cancel { job }),
    ]
}

/// What is meant.
#[derive(Debug, Default)]
struct Meant {
    tags: BTreeMap<(Model, usize), u8>,
    shares: BTreeSet<(Model, usize)>,
    /// Live jobs with their tenant, and what each may load.
    jobs: BTreeMap<u64, (usize, BTreeSet<Version>)>,
}

impl Meant {
    fn is_tagged(&self, (model, number): Version) -> bool {
        self.tags.iter().any(|((of, _), to)| (*of, *to) == (model, number))
    }

    fn has_tags(&self, model: Model) -> bool {
        self.tags.keys().any(|(of, _)| *of == model)
    }

    fn may_use(&self, by: usize, model: Model) -> bool {
        model.0 == by || self.shares.contains(&(model, by))
    }

    fn uses(&self, version: Version) -> u64 {
        self.jobs.values().filter(|(_, may)| may.contains(&version)).count() as u64
    }

    fn uses_by(&self, by: usize, model: Model) -> u64 {
        let of = |may: &BTreeSet<Version>| may.iter().filter(|(of, _)| *of == model).count() as u64;
        self.jobs.values().filter(|(tenant, _)| *tenant == by).map(|(_, may)| of(may)).sum()
    }

    fn may_name(&self, by: usize, version: Version) -> bool {
        let uses = self.jobs.values().any(|(of, may)| *of == by && may.contains(&version));
        uses || (self.is_tagged(version) && self.may_use(by, version.0))
    }

    fn push(&mut self, model: Model, tag: usize, number: u8) -> Pushed {
        match self.tags.insert((model, tag), number) {
            None => Pushed::New,
            Some(before) if before == number => Pushed::Unchanged,
            Some(before) => Pushed::Moved { from: Digest([before; 32]) },
        }
    }

    fn remove(&mut self, model: Model, tag: usize, force: bool) -> Result<u64, ErrorCode> {
        let number = *self.tags.get(&(model, tag)).ok_or(ErrorCode::NotFound)?;
        let version = (model, number);
        let others = self.tags.iter().filter(|(of, to)| of.0 == model && **to == number).count();
        let uses = if others == 1 { self.uses(version) } else { 0 };
        if uses > 0 && !force {
            return Err(ErrorCode::Conflict);
        }
        self.tags.remove(&(model, tag));
        if !self.is_tagged(version) {
            self.jobs.values_mut().for_each(|(_, may)| _ = may.remove(&version));
        }
        if !self.has_tags(model) {
            self.shares.retain(|(of, _)| *of != model);
        }
        Ok(uses)
    }

    fn share(&mut self, model: Model, with: usize) -> Result<(), ErrorCode> {
        if !self.has_tags(model) {
            return Err(ErrorCode::NotFound);
        }
        if model.0 == with {
            return Err(ErrorCode::InvalidInput);
        }
        self.shares.insert((model, with));
        Ok(())
    }

    fn unshare(&mut self, model: Model, with: usize, force: bool) -> Result<u64, ErrorCode> {
        if !self.has_tags(model) || !self.shares.contains(&(model, with)) {
            return Err(ErrorCode::NotFound);
        }
        let uses = self.uses_by(with, model);
        if uses > 0 && !force {
            return Err(ErrorCode::Conflict);
        }
        self.shares.remove(&(model, with));
        for (_, may) in self.jobs.values_mut().filter(|(of, _)| *of == with) {
            may.retain(|(of, _)| *of != model);
        }
        Ok(uses)
    }

    fn submit(&mut self, job: u64, by: usize, versions: &[Version]) {
        self.jobs.insert(job, (by, versions.iter().copied().collect()));
    }
}

fn name((tenant, name): Model, tag: usize) -> String {
    format!("{}/{}:{}", TENANTS[tenant], NAMES[name], TAGS[tag])
}

/// The core, what is meant, and what was submitted so far.
struct Play {
    cluster: Cluster,
    meant: Meant,
    submitted: Vec<(usize, JobSpec, Vec<Version>)>,
}

impl Play {
    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Push { model, tag, number } => {
                let text = format!("{}:{}", NAMES[model.1], TAGS[*tag]);
                let found = self.cluster.push(TENANTS[model.0], &text, *number);
                let pushed = self.meant.push(*model, *tag, *number);
                prop_assert_eq!(found, Ok(Answer::ModelPushed(pushed)));
            }
            Step::Remove { model, tag, force } => {
                let found = self.cluster.remove(&name(*model, *tag), *force);
                same(found, self.meant.remove(*model, *tag, *force))?;
            }
            Step::Share { model, with } => {
                let found = self.cluster.share(&name(*model, 0), TENANTS[*with]);
                let meant = self.meant.share(*model, *with).map(|()| Answer::Done);
                prop_assert_eq!(found.map_err(|error| error.code), meant);
            }
            Step::Unshare { model, with, force } => {
                let found = self.cluster.unshare(&name(*model, 0), TENANTS[*with], *force);
                same(found, self.meant.unshare(*model, *with, *force))?;
            }
            Step::Submit { by, tags } => self.submit(*by, tags)?,
            Step::Again { earlier } if !self.submitted.is_empty() => {
                let (by, spec, versions) = earlier.get(&self.submitted).clone();
                self.hand_in(by, &spec, &versions)?;
            }
            Step::Cancel { job } if !self.meant.jobs.is_empty() => {
                let jobs: Vec<u64> = self.meant.jobs.keys().copied().collect();
                let job = *job.get(&jobs);
                let (request, id) = (RequestId(1), JobId(job));
                self.cluster.ask(Input::Cancel { request, job: id }).unwrap();
                self.meant.jobs.remove(&job);
            }
            Step::Again { .. } | Step::Cancel { .. } => {}
        }
        self.compare()
    }

    fn submit(&mut self, by: usize, tags: &[(Model, usize)]) -> Result<(), TestCaseError> {
        let mut names: Vec<String> = tags.iter().map(|(model, tag)| name(*model, *tag)).collect();
        names.sort();
        names.dedup();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = self.cluster.job_with(TENANTS[by], &names);
        let there =
            |of: &(Model, usize)| self.meant.tags.contains_key(of) && self.meant.may_use(by, of.0);
        prop_assert_eq!(found.is_ok(), tags.iter().all(there));
        let Ok(spec) = found else { return Ok(()) };
        let versions: Vec<Version> = tags.iter().map(|of| (of.0, self.meant.tags[of])).collect();
        self.submitted.push((by, spec.clone(), versions.clone()));
        self.hand_in(by, &spec, &versions)
    }

    fn hand_in(
        &mut self,
        by: usize,
        spec: &JobSpec,
        versions: &[Version],
    ) -> Result<(), TestCaseError> {
        let found = answer(&self.cluster.submit_as(TENANTS[by], spec));
        let meant = versions.iter().all(|version| self.meant.may_name(by, *version));
        match found {
            Ok(Answer::Submitted(job)) if meant => self.meant.submit(job.0, by, versions),
            Err(RequestError { code: ErrorCode::NotFound, .. }) if !meant => {}
            other => return Err(TestCaseError::fail(format!("{other:?}, meant: {meant}"))),
        }
        Ok(())
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let row = |((model, tag), number): (&(Model, usize), &u8)| {
            (name(*model, *tag), *number, self.meant.uses((*model, *number)))
        };
        let meant: Vec<_> = self.meant.tags.iter().map(row).collect();
        prop_assert_eq!(self.cluster.tags(None), meant);
        for (by, tenant) in TENANTS.iter().enumerate() {
            let visible = |((model, _), _): &(&(Model, usize), &u8)| self.meant.may_use(by, *model);
            let tags = self.meant.tags.iter().filter(visible);
            let meant: Vec<String> = tags.map(|((model, tag), _)| name(*model, *tag)).collect();
            let found = self.cluster.tags(Some(tenant));
            let found: Vec<String> = found.into_iter().map(|(name, ..)| name).collect();
            prop_assert_eq!(found, meant);
        }
        for (job, (_, may)) in &self.meant.jobs {
            for number in 1..4 {
                let found = self.cluster.core.model_of_job(JobId(*job), Digest([number; 32]));
                let meant = may.iter().any(|(_, of)| *of == number);
                prop_assert_eq!(found.is_some(), meant, "job {}, {}", job, number);
            }
        }
        Ok(())
    }
}

fn same(
    found: Result<Answer, RequestError>,
    meant: Result<u64, ErrorCode>,
) -> Result<(), TestCaseError> {
    let meant = meant.map(|uses| Answer::ModelWithdrawn { uses });
    prop_assert_eq!(found.map_err(|error| error.code), meant);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_registry_is_what_is_meant(steps in vec(steps(), 1..60)) {
        let mut play =
            Play { cluster: Cluster::new(), meant: Meant::default(), submitted: Vec::new() };
        for step in &steps {
            play.step(step)?;
        }
    }
}

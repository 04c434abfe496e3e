//! A service as flags and file describe it together, ready to be deployed.

use wrun_component::Kind;
use wrun_protocol::limits::{MAX_REPLICAS, MEMORY_OF_REQUEST};

use super::fields::{ReadinessTable, ReuseTable, ScaleOnName, ServiceTables};
use super::spec::Way;
use super::target::Target;
use crate::error::Error;
use crate::exit::Exit;
use crate::plan::{self, Loaded, Plan};
use crate::syntax::service::Deploy;
use crate::toml_source::Source;
use crate::value::{Cpu, Size};
use crate::workflowfile;

/// Cores that a replica is sure of, unless it says otherwise: it gets more while there is more,
/// and most services do nothing most of the time.
const CPU: Cpu = Cpu { milli: 100 };

/// Memory of a replica, unless it says otherwise: at least this.
const MEMORY: u64 = 128 << 20;

/// And this for each of its instances, unless they handle several requests at once.
const MEMORY_OF_INSTANCE: u64 = 8 << 20;

/// Longest name of a service: a DNS label (RFC 1123).
const MAX_NAME: usize = 63;

/// Reads the service that `args` name, and every file that it names.
pub(crate) fn load(args: &Deploy) -> Result<Loaded, Error> {
    let is_file = args.service.extension().is_some_and(|extension| extension == "toml");
    let (mut plan, tables) = if is_file {
        let source = Source::read(&args.service, "service file", Exit::InvalidInput)?;
        if workflowfile::is_workflow(&source) {
            let text =
                format!("`{}` is a workflow, and a service is wanted", args.service.display());
            return Err(Error::new(Exit::InvalidInput, text).todo("run it with `wrun submit`"));
        }
        let (mut file, mut tables) = super::read(&source)?;
        overlay_tables(&mut tables, args);
        file.cpu.get_or_insert(CPU);
        file.memory.get_or_insert(Size(memory_of(&tables)));
        (Plan::of_file(file, source)?, tables)
    } else {
        let mut tables = ServiceTables::default();
        overlay_tables(&mut tables, args);
        let mut plan = Plan::of_component(args.service.clone());
        plan.spec.resources.cpu_milli = CPU.milli;
        plan.spec.resources.memory = memory_of(&tables);
        (plan, tables)
    };
    overlay(&mut plan, args);
    if plan.spec.name.is_empty() {
        plan.spec.name = default_name(&plan);
    }
    plan::load_service(plan, |plan, spec, kind| {
        let way = match kind {
            Kind::Http => Way::Http,
            Kind::Command => Way::Program,
            Kind::Handler => return Err(plan.at("component", is_a_handler(plan))),
        };
        let service = tables.spec(way).map_err(|(key, problem)| plan.misplaced(key, &problem))?;
        let models = service.check_models(!plan.models.is_empty());
        models.map_err(|(key, problem)| plan.misplaced(key, &problem))?;
        spec.service = Some(Box::new(service));
        spec.count = MAX_REPLICAS;
        spec.resources.slots = spec.instances();
        for other in &mut spec.scheduling.alternatives {
            other.resources.slots = spec.resources.slots;
        }
        Ok(())
    })
}

/// What a replica's instances take together, by the tables alone: what they are of is not known
/// yet, and a program has one.
fn memory_of(tables: &ServiceTables) -> u64 {
    let http = tables.http.as_ref();
    let concurrency = http.and_then(|http| http.concurrency).map_or(16, |number| number.0);
    let reuse = http.and_then(|http| http.reuse).and_then(|reuse| reuse.concurrent);
    let each = reuse.map_or(1, |number| number.0);
    let instance = if each > 1 { u64::from(each) * MEMORY_OF_REQUEST } else { MEMORY_OF_INSTANCE };
    MEMORY.max(u64::from(concurrency.div_ceil(each)) * instance)
}

/// Lays the flags over the tables of the file.
fn overlay_tables(tables: &mut ServiceTables, args: &Deploy) {
    let says_http = !args.route.is_empty()
        || args.concurrency.is_some()
        || args.reuse.is_some()
        || args.timeout.is_some();
    if says_http {
        let http = tables.http.get_or_insert_default();
        if !args.route.is_empty() {
            http.routes.clone_from(&args.route);
        }
        http.concurrency = args.concurrency.or(http.concurrency);
        http.timeout = args.timeout.or(http.timeout);
        if let Some(requests) = args.reuse {
            let reuse = http.reuse.get_or_insert_default();
            *reuse = ReuseTable { requests: Some(requests), ..*reuse };
        }
    }
    if let Some(path) = &args.ready_path {
        let readiness: &mut ReadinessTable = tables.readiness.get_or_insert_default();
        readiness.path = Some(path.clone());
    }
    if !args.port.is_empty() {
        tables.program.get_or_insert_default().ports.clone_from(&args.port);
    }
    let scale = &mut tables.scale;
    scale.min = args.min.or(scale.min);
    scale.max = args.max.or(scale.max);
    if let Some(requests) = args.target {
        scale.on = Some(ScaleOnName::Concurrency);
        scale.target = Some(Target::Number(requests.0.saturating_mul(1000)));
    }
}

/// Lays the flags over what a job file says too.
fn overlay(plan: &mut Plan, args: &Deploy) {
    let spec = &mut plan.spec;
    if !args.args.is_empty() {
        spec.args.clone_from(&args.args);
    }
    plan::set(&mut spec.name, args.name.clone());
    plan::set(&mut spec.resources.cpu_milli, args.cpu.map(|cpu| cpu.milli));
    plan::set(&mut spec.resources.memory, args.memory.map(|size| size.0));
    plan::set(&mut spec.priority, args.priority.map(|priority| priority.0));
    plan::set(&mut spec.scheduling.partition, args.partition.clone().map(Some));
    plan::set(&mut spec.scheduling.qos, args.qos.clone().map(Some));
    plan::overlay_pairs(spec, &args.env, &args.label);
    for host in &args.allow_host {
        if !spec.network.contains(&host.0) {
            spec.network.push(host.0.clone());
        }
    }
    plan.mounts.extend(args.mount.iter().cloned());
    plan.overlay_models(&args.model, args.load_models);
}

/// The component's file name as a name that a service may have.
fn default_name(plan: &Plan) -> String {
    let stem = plan.component.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let plain = stem.chars().map(|c| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '-',
    });
    let name: String = plain.take(MAX_NAME).collect();
    name.trim_matches('-').to_owned()
}

fn is_a_handler(plan: &Plan) -> Error {
    let path = plan.component.display();
    let text = format!(
        "`{path}`: it is a handler (it exports `wrun:task/handler`), which gives one result for one input"
    );
    Error::new(Exit::InvalidInput, text)
        .todo("submit it with `wrun submit`, or export `wasi:http` or `wasi:cli/run`")
}

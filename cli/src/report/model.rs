//! The page of a model: what was pushed, who uses it, and what nodes tell of it.

use std::time::Duration;

use wrun_protocol::Timestamp;
use wrun_protocol::resources::Bytes as Size;
use wrun_protocol::wire::model::{
    Kept, LoadedModel, ModelBatching, ModelCounts, ModelDetail, ModelTensor, ModelUse, ModelUser,
    NodeModel,
};

use crate::console::Console;
use crate::report::human;
use crate::report::table::{Listing, clean};

/// A line for each thing that there is to say.
pub(crate) fn page(console: Console, detail: &ModelDetail, now: Timestamp) -> String {
    let row = &detail.row;
    let spec = &row.version.spec;
    let list = |words: Vec<String>| words.join(", ");
    let batches = match spec.max_batch {
        1 => "none: each item alone".to_owned(),
        most => format!("at most {most} items, for up to {} ms", spec.max_delay_ms),
    };
    let axes = spec.batch_axes.iter().map(|(tensor, axis)| format!("{tensor}={axis}"));
    let mut lines = vec![
        ("model", format!("{}:{}", row.model.name, row.tag)),
        ("tenant", row.model.tenant.to_string()),
        ("digest", row.version.digest.to_string()),
        ("size", Size(row.version.size).to_string()),
        ("encoding", spec.encoding.as_str().to_owned()),
        ("target", spec.target.as_str().to_owned()),
        ("batches", batches),
    ];
    if !spec.batch_axes.is_empty() {
        lines.push(("batch axes", list(axes.collect())));
    }
    let pushed = format!("{} ({})", human::date(row.pushed), human::ago(row.pushed, now));
    lines.push(("pushed", pushed));
    lines.push(("tags", list(detail.tags.iter().map(ToString::to_string).collect())));
    if !detail.shared_with.is_empty() {
        let tenants = detail.shared_with.iter().map(ToString::to_string);
        lines.push(("shared", format!("with {}", list(tenants.collect()))));
    }
    lines.push(("used by", used_by(detail)));
    lines.extend(as_loaded(detail));
    lines.push(("nodes", on_nodes(detail)));
    let text: Vec<String> =
        lines.iter().map(|(name, value)| format!("{name:<12}{}", clean(value).trim())).collect();
    let mut text = text.join("\n");
    if !detail.nodes.is_empty() {
        text += "\n\n";
        text += &nodes(console, &detail.nodes);
    }
    text
}

/// What nodes found in the file: the same on all of them, but for the batches, which depend on
/// what runs it.
fn as_loaded(detail: &ModelDetail) -> Vec<(&'static str, String)> {
    let loaded: Vec<&LoadedModel> =
        detail.nodes.iter().filter_map(|node| node.loaded.as_deref()).collect();
    let Some(first) = loaded.first() else { return Vec::new() };
    let tensors = |of: &[ModelTensor]| of.iter().map(tensor).collect::<Vec<_>>().join(", ");
    let mut lines = vec![("inputs", tensors(&first.inputs)), ("outputs", tensors(&first.outputs))];
    // Two nodes measure alike and not the same: one speaks for all of a back end.
    let mut told: Vec<(&str, String)> = Vec::new();
    for of in loaded {
        if told.iter().any(|(back_end, _)| *back_end == of.back_end) {
            continue;
        }
        let merging = match &of.batching {
            ModelBatching::Merged(axes) => {
                let axes = axes.iter().map(|(tensor, axis)| format!("{tensor}={axis}"));
                format!("by {} in batches, by {}", of.back_end, axes.collect::<Vec<_>>().join(", "))
            }
            ModelBatching::Alone(reason) => format!("by {} one by one: {reason}", of.back_end),
        };
        told.push((&of.back_end, merging));
    }
    lines.extend(told.into_iter().map(|(_, merging)| ("runs", merging)));
    lines
}

/// `input fp32[batch, 512]`.
fn tensor(of: &ModelTensor) -> String {
    let dimensions = of.dimensions.as_ref().map(|all| all.join(", "));
    format!("{} {}[{}]", of.name, of.element, dimensions.unwrap_or_else(|| "…".to_owned()))
}

fn on_nodes(detail: &ModelDetail) -> String {
    match detail.on_nodes.saturating_sub(detail.nodes.len() as u64) {
        0 if detail.nodes.is_empty() => "on none".to_owned(),
        0 => format!("on {}", detail.on_nodes),
        _ => format!("on {}; the first {}:", detail.on_nodes, detail.nodes.len()),
    }
}

fn nodes(console: Console, nodes: &[NodeModel]) -> String {
    let columns = [
        "NODE",
        "STATE",
        "DEVICE",
        ">MEMORY",
        ">REQUESTS",
        ">FAILED",
        ">WAITING",
        ">BATCH",
        ">P50",
        ">P99",
    ];
    let mut listing = Listing::new(console, &columns);
    for of in nodes {
        let state = match of.kept {
            Kept::Loaded => "loaded",
            Kept::Stored => "on disk",
        };
        let mut cells = vec![of.node.clone(), state.to_owned()];
        let loaded = of.loaded.as_deref();
        cells.push(loaded.map_or_else(String::new, |of| of.device.clone()));
        cells.push(loaded.map_or_else(String::new, |of| Size(of.bytes).to_string()));
        let counts = loaded.and_then(|of| of.counts.as_ref());
        cells.extend(counts.map_or_else(|| vec![String::new(); 6], in_cells));
        listing.row(cells);
    }
    listing.text()
}

fn in_cells(of: &ModelCounts) -> Vec<String> {
    let some = |is_any: bool, text: String| if is_any { text } else { String::new() };
    let time = |us| some(of.runs > 0, human::took(Duration::from_micros(us)));
    let batch = format!("{:.1}", of.batch_milli as f64 / 1000.0);
    vec![
        human::grouped(of.requests),
        human::grouped(of.failed),
        human::grouped(of.waiting),
        some(of.runs > 0, batch),
        time(of.latency_p50_us),
        time(of.latency_p99_us),
    ]
}

fn used_by(detail: &ModelDetail) -> String {
    let owner = &detail.row.model.tenant;
    let mut words: Vec<String> = detail.used_by.iter().map(|of| in_words(of, owner)).collect();
    let others: u64 = detail.used_by_others.iter().map(|(_, uses)| uses).sum();
    let named = detail.used_by.len() as u64 + others;
    if let Some(more) = detail.row.uses.checked_sub(named).filter(|more| *more > 0) {
        words.push(format!("{more} more"));
    }
    let of_others = detail.used_by_others.iter();
    words.extend(of_others.map(|(tenant, uses)| format!("{uses} of tenant {tenant}")));
    if words.is_empty() { "nothing that lives".to_owned() } else { words.join(", ") }
}

fn in_words(of: &ModelUse, owner: &wrun_protocol::TenantName) -> String {
    let what = match &of.by {
        ModelUser::Job(job) => format!("job {job}"),
        ModelUser::Service { name, revision } => format!("service {name} (revision {revision})"),
        ModelUser::Workflow(job) => format!("workflow {job}"),
        ModelUser::Schedule(name) => format!("schedule {name}"),
    };
    if of.tenant == *owner { what } else { format!("{what} of tenant {}", of.tenant) }
}

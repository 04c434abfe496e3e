//! Measures wrun beside its peers on this machine and writes docs/benchmarks.md.
//!
//! `cargo xtask bench [NAME…]` runs all, or those named; `http` names all that begin so. Each benchmark is a file here;
//! every figure on the page comes from one run of this program. `--quick` is for who changes a
//! benchmark: it takes less time where a benchmark can, and the page is not written.

mod answering_node;
mod cold;
mod core_bench;
mod explain;
mod gang;
mod http;
mod idle;
mod inference;
mod kueue;
mod latency;
mod machine;
mod peers;
mod placement;
mod profile;
mod raw;
mod report;
mod restart;
mod scheduler;
mod statistics;
mod traces;
mod whole_path;

use anyhow::{Context, Result, bail};

use report::Report;

/// A benchmark: its name and what runs it.
type Benchmark = (&'static str, fn(&mut Report) -> Result<()>);

const BENCHMARKS: &[Benchmark] = &[
    ("whole-path", whole_path::measure),
    ("latency", latency::measure),
    ("cold", cold::measure),
    ("scheduler", scheduler::measure),
    ("placement", placement::measure),
    ("explain", explain::measure),
    ("kueue", kueue::measure),
    ("restart", restart::measure),
    ("traces", traces::measure),
    ("gang", gang::measure),
    ("inference-memory", inference::memory::measure),
    ("inference-python", inference::python::measure),
    ("inference-overhead", inference::overhead::measure),
    ("inference-batching", inference::batching::measure),
    ("http-serve", http::serve::measure),
    ("http-forwarded", http::forwarded::measure),
    ("http-asleep", http::asleep::measure),
    ("http-spike", http::spike::measure),
    ("http-idle", http::idle::measure),
    ("idle", idle::measure),
    ("peers", peers::measure),
];

fn main() -> Result<()> {
    let (flags, wanted): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    if let Some(unknown) = flags.iter().find(|flag| *flag != "--quick") {
        bail!("no flag `{unknown}`; there is --quick");
    }
    let quick = !flags.is_empty();
    if let Some(unknown) = wanted.iter().find(|it| !BENCHMARKS.iter().any(|(n, _)| names(it, n))) {
        let all: Vec<_> = BENCHMARKS.iter().map(|(name, _)| *name).collect();
        bail!("no benchmark `{unknown}`; there are {}", all.join(", "));
    }
    let mut report = Report::new(machine::describe(), quick);
    for (name, measure) in BENCHMARKS {
        if wanted.is_empty() || wanted.iter().any(|wanted| names(wanted, name)) {
            eprintln!("==> {name}");
            measure(&mut report).with_context(|| format!("benchmark {name}"))?;
        }
    }
    let page = report.to_markdown();
    if wanted.is_empty() && !quick {
        let path = harness::artefacts::checkout("docs/benchmarks.md");
        std::fs::write(&path, page).with_context(|| path.display().to_string())?;
        println!("wrote {}", path.display());
    } else {
        println!("{page}");
    }
    Ok(())
}

/// Whether that is its name, or what its name begins with.
fn names(wanted: &str, name: &str) -> bool {
    name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

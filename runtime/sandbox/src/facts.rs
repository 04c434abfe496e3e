//! What is known of a component besides its code: kept beside the code, so that the
//! original bytes are not needed once it is compiled.

use wrun_component::{Generation, Inspected, Kind};
use wrun_protocol::wire::worker::ComponentKind;

use crate::engines::Flavor;

/// What one instance is and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) kind: ComponentKind,
    pub(crate) flavor: Flavor,
    /// Whether what is called is that of WASI 0.3: a program's `run`, a service's `handle`.
    pub(crate) concurrent_call: bool,
    pub(crate) cores: u32,
    pub(crate) memories: u32,
    pub(crate) tables: u32,
}

impl Facts {
    /// `None` for an HTTP service that is to be deterministic.
    pub(crate) fn of(inspected: &Inspected, deterministic: bool) -> Option<Self> {
        let (kind, concurrent_call) = match inspected.kind {
            Kind::Command => (ComponentKind::Command, inspected.wasi == Generation::P3),
            Kind::Handler => (ComponentKind::Handler, false),
            Kind::Http if deterministic => return None,
            Kind::Http => {
                // It may import interfaces of WASI 0.3 and be called by that of 0.2.
                (ComponentKind::Http, inspected.export.starts_with("wasi:http/handler@"))
            }
        };
        let concurrent = inspected.needs_concurrency || inspected.wasi == Generation::P3;
        let flavor = match (deterministic, concurrent) {
            (true, _) => Flavor::Deterministic,
            (false, true) => Flavor::Concurrent,
            (false, false) => Flavor::Plain,
        };
        Some(Self {
            kind,
            flavor,
            concurrent_call,
            cores: inspected.core_instances,
            memories: inspected.memories,
            tables: inspected.tables,
        })
    }

    pub(crate) fn to_line(self) -> String {
        let kind = match self.kind {
            ComponentKind::Command => "command",
            ComponentKind::Handler => "handler",
            ComponentKind::Http => "http",
        };
        let Self { flavor, concurrent_call, cores, memories, tables, .. } = self;
        let flavor = flavor.to_word();
        format!("{kind} {flavor} {concurrent_call} {cores} {memories} {tables}")
    }

    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let facts = Self {
            kind: match words.next()? {
                "command" => ComponentKind::Command,
                "handler" => ComponentKind::Handler,
                "http" => ComponentKind::Http,
                _ => return None,
            },
            flavor: match words.next()? {
                "plain" => Flavor::Plain,
                "concurrent" => Flavor::Concurrent,
                "deterministic" => Flavor::Deterministic,
                _ => return None,
            },
            concurrent_call: words.next()?.parse().ok()?,
            cores: words.next()?.parse().ok()?,
            memories: words.next()?.parse().ok()?,
            tables: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back() {
        let facts = Facts {
            kind: ComponentKind::Command,
            flavor: Flavor::Concurrent,
            concurrent_call: true,
            cores: 3,
            memories: 1,
            tables: 2,
        };
        assert_eq!(Facts::from_line(&facts.to_line()), Some(facts));
        assert_eq!(Facts::from_line("command plain"), None);
    }
}

//! Nodes as a table: `cpu_milli` must be there; `sn` or `name`, `memory_mib`, `gpu` (how
//! many cards) and `model` may be.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::csv::{Row, Splitter, require};
use super::lines::{self, Line};
use super::{Skipped, TraceError};

/// Most nodes of a simulated cluster.
pub(crate) const MAX_NODES: usize = 100_000;

/// Most cards of a node.
const MAX_CARDS: u64 = 1024;

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its name.
    pub(crate) name: Box<str>,
    /// Thousandths of a processor.
    pub(crate) cpu_milli: u32,
    /// Bytes; `None` is as much as anyone asks for.
    pub(crate) memory: Option<u64>,
    /// How many cards it has.
    pub(crate) gpus: u32,
    /// Their model.
    pub(crate) gpu_model: Box<str>,
}

/// Reads a table of nodes, and counts the lines that are none.
pub(crate) fn read_nodes(path: &Path) -> Result<(Vec<Node>, Skipped), TraceError> {
    read(File::open(path).map_err(TraceError::Open)?)
}

/// Where the columns stand.
struct Columns {
    name: Option<usize>,
    cpu: Option<usize>,
    memory: Option<usize>,
    gpus: Option<usize>,
    model: Option<usize>,
    width: usize,
}

fn read(input: impl Read) -> Result<(Vec<Node>, Skipped), TraceError> {
    let mut lines = lines::lines(input).map_err(|source| TraceError::Read { line: 0, source })?;
    let mut splitter = Splitter::new();
    let mut columns = None;
    let (mut nodes, mut names, mut skipped) = (Vec::new(), HashSet::new(), Skipped::default());
    loop {
        let number = lines.number() + 1;
        let line =
            match lines.next().map_err(|source| TraceError::Read { line: number - 1, source })? {
                None => break,
                Some(Line::Text(text)) if text.trim().is_empty() => continue,
                Some(Line::Text(text)) => text,
                Some(Line::Unreadable(why)) => {
                    skipped.add_malformed(number, why);
                    continue;
                }
            };
        let Some(columns) = &columns else {
            columns = Some(Columns::new(&mut splitter, line)?);
            continue;
        };
        match splitter.split(line).and_then(|row| node(&row, columns, nodes.len())) {
            Ok(_) if nodes.len() >= MAX_NODES => return Err(TraceError::TooManyNodes),
            Ok(node) if names.insert(node.name.clone()) => nodes.push(node),
            Ok(node) => skipped.add_malformed(number, format!("a second node `{}`", node.name)),
            Err(problem) => skipped.add_malformed(number, problem),
        }
    }
    if nodes.is_empty() {
        return Err(TraceError::Empty { what: "node", skipped });
    }
    Ok((nodes, skipped))
}

impl Columns {
    fn new(splitter: &mut Splitter, header: &str) -> Result<Self, TraceError> {
        let Ok(row) = splitter.split(header) else {
            return Err(TraceError::Columns { missing: vec!["cpu_milli"] });
        };
        let cpu = row.place(&["cpu_milli"]);
        require(&[("cpu_milli", cpu)])?;
        Ok(Self {
            name: row.place(&["sn", "name"]),
            cpu,
            memory: row.place(&["memory_mib"]),
            gpus: row.place(&["gpu", "num_gpu"]),
            model: row.place(&["model", "gpu_spec"]),
            width: row.len(),
        })
    }
}

fn node(row: &Row<'_>, columns: &Columns, count: usize) -> Result<Node, String> {
    if row.len() != columns.width {
        return Err(format!("it has {} fields of {}", row.len(), columns.width));
    }
    let cpu = row.number(columns.cpu, "cpu_milli")?.unwrap_or(0);
    let cpu_milli = u32::try_from(cpu).ok().filter(|cpu| *cpu > 0);
    let gpus = row.number(columns.gpus, "gpu")?.unwrap_or(0);
    let memory = row.number(columns.memory, "memory_mib")?;
    Ok(Node {
        name: match row.field(columns.name) {
            "" => format!("node-{count}").into(),
            name => name.into(),
        },
        cpu_milli: cpu_milli.ok_or("cpu_milli is not from 1 to 4294967295")?,
        memory: memory.map(|mib| mib.saturating_mul(1 << 20).min(1 << 50)),
        gpus: u32::try_from(gpus.min(MAX_CARDS + 1))
            .ok()
            .filter(|_| gpus <= MAX_CARDS)
            .ok_or_else(|| format!("gpu is over {MAX_CARDS}"))?,
        gpu_model: row.field(columns.model).into(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_a_node_and_bad_ones_are_counted() {
        let text = "sn,cpu_milli,memory_mib,gpu,model\n\
                    n0,64000,262144,2,P100\n\
                    n0,64000,262144,2,P100\n\
                    n1,0,1,0,\n\
                    n2,1000,1,9999,T4\n\
                    n3,1000\n\
                    ,1000,,,\n";
        let (nodes, skipped) = read(text.as_bytes()).unwrap();
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[0].memory, Some(256 << 30));
        assert_eq!((nodes[0].gpus, &*nodes[0].gpu_model), (2, "P100"));
        assert_eq!((&*nodes[1].name, nodes[1].memory, nodes[1].gpus), ("node-1", None, 0));
        let problems: Vec<&str> = skipped.shown.iter().map(|(_, why)| why.as_str()).collect();
        assert_eq!(
            problems,
            [
                "a second node `n0`",
                "cpu_milli is not from 1 to 4294967295",
                "gpu is over 1024",
                "it has 2 fields of 5"
            ]
        );
    }

    #[test]
    fn a_table_without_nodes_is_none() {
        assert!(matches!(read(&b"sn,cpu_milli\n"[..]), Err(TraceError::Empty { .. })));
        assert!(matches!(read(&b"sn,cpu\n"[..]), Err(TraceError::Columns { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = read(&[b"sn,cpu_milli,gpu\n", &bytes[..]].concat()[..]);
            let _ = read(&bytes[..]);
        }
    }
}

//! The interfaces that nodes give to components. Which of their calls succeed is the
//! job's grants' matter: everything standard is linked, and refuses at run time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use wasmparser::component_types::{ComponentAnyTypeId, ComponentEntityType, ResourceId};
use wasmparser::types::Types;

use crate::name::{InterfaceName, Track};

/// Functions and resources by interface. `given.txt` says where it comes from.
static GIVEN: LazyLock<BTreeMap<(&'static str, Track<'static>), BTreeSet<&'static str>>> =
    LazyLock::new(|| include_str!("given.txt").lines().filter_map(parse_line).collect());

type Line = ((&'static str, Track<'static>), BTreeSet<&'static str>);

fn parse_line(line: &'static str) -> Option<Line> {
    let mut words = line.split(' ');
    let (path, version) = words.next()?.split_once('@')?;
    let minor = version.strip_prefix("0.").and_then(|minor| minor.parse().ok());
    let track = minor.map_or_else(|| Track::of(version), Track::Zero);
    Some(((path, track), words.collect()))
}

/// Imports that no node gives, by the full name that the component uses; a single
/// missing function or resource of a known interface is named `interface#item`.
pub(crate) fn missing<'a>(types: &Types, imports: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut check = Check { types, seen: BTreeSet::new(), missing: Vec::new() };
    for name in imports {
        check.on_import(name);
    }
    check.missing
}

struct Check<'t> {
    types: &'t Types,
    /// Resources of imports so far: a second mention is a `use` of the first.
    seen: BTreeSet<ResourceId>,
    missing: Vec<String>,
}

impl Check<'_> {
    fn on_import(&mut self, name: &str) {
        let types = self.types;
        let parsed = InterfaceName::parse(name);
        let given = GIVEN.get(&(parsed.path, parsed.track));
        let entity = types.component_item_for_import(name).map(|item| item.ty);
        match (given, entity) {
            (Some(given), Some(ComponentEntityType::Instance(id))) => {
                for (item, found) in &types[id].exports {
                    if self.asks_for(found.ty) && !given.contains(item.as_str()) {
                        self.missing.push(format!("{name}#{item}"));
                    }
                }
            }
            (_, Some(entity)) if !self.asks_for(entity) => {}
            _ => self.missing.push(name.to_owned()),
        }
    }

    /// Whether the host must define this item. It must not define types, which are
    /// compared by structure, nor resources that another import defines.
    fn asks_for(&mut self, entity: ComponentEntityType) -> bool {
        match entity {
            ComponentEntityType::Type { created: ComponentAnyTypeId::Resource(id), .. } => {
                self.seen.insert(id.resource())
            }
            ComponentEntityType::Type { .. } => false,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_whole() {
        let lines = include_str!("given.txt").lines().filter(|line| !line.starts_with('#'));
        assert_eq!(GIVEN.len(), lines.count());
        let exit = GIVEN.get(&("wasi:cli/exit", Track::Zero(2))).unwrap();
        assert!(exit.contains("exit-with-code"));
        assert!(GIVEN.contains_key(&("wrun:task/context", Track::Zero(1))));
        assert!(!GIVEN.contains_key(&("wasi:cli/run", Track::Zero(2))));
        let nn = Track::Pre("0.2.0-rc-2024-10-28");
        assert!(GIVEN.get(&("wasi:nn/graph", nn)).unwrap().contains("load-by-name"));
    }
}

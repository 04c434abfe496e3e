//! The interfaces that nodes give to components. Which of their calls succeed is the
//! job's grants' matter: everything standard is linked, and refuses at run time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use wasmparser::component_types::{ComponentEntityType, ComponentInstanceTypeId};
use wasmparser::types::Types;

use crate::name::{InterfaceName, Track};

/// Functions and resources by interface. `given.txt` says where it comes from.
static GIVEN: LazyLock<BTreeMap<(&'static str, Track), BTreeSet<&'static str>>> =
    LazyLock::new(|| include_str!("given.txt").lines().filter_map(parse_line).collect());

type Line = ((&'static str, Track), BTreeSet<&'static str>);

fn parse_line(line: &'static str) -> Option<Line> {
    let mut words = line.split(' ');
    let (path, version) = words.next()?.split_once('@')?;
    let minor = version.strip_prefix("0.")?.parse().ok()?;
    Some(((path, Track::Zero(minor)), words.collect()))
}

/// Imports that no node gives, by the full name that the component uses; a single
/// missing function of a known interface is named `interface#function`.
pub(crate) fn missing<'a>(types: &Types, imports: impl Iterator<Item = &'a str>) -> Vec<String> {
    imports.flat_map(|name| missing_of(types, name)).collect()
}

fn missing_of(types: &Types, name: &str) -> Vec<String> {
    let parsed = InterfaceName::parse(name);
    let given = GIVEN.get(&(parsed.path, parsed.track));
    let entity = types.component_item_for_import(name).map(|item| item.ty);
    match (given, entity) {
        (Some(given), Some(ComponentEntityType::Instance(id))) => {
            let lacks = |item: &&str| !given.contains(item);
            linked(types, id).filter(lacks).map(|item| format!("{name}#{item}")).collect()
        }
        // A type alone asks for nothing at run time.
        (_, Some(ComponentEntityType::Type { .. })) if !is_resource(types, name) => Vec::new(),
        _ => vec![name.to_owned()],
    }
}

/// Items of an instance that the host must define: functions, resources, and whatever
/// no interface of ours has.
fn linked(types: &Types, id: ComponentInstanceTypeId) -> impl Iterator<Item = &str> {
    types[id].exports.iter().filter_map(|(name, item)| match item.ty {
        ComponentEntityType::Type { created, .. } => {
            matches!(created, wasmparser::component_types::ComponentAnyTypeId::Resource(_))
                .then_some(name.as_str())
        }
        _ => Some(name.as_str()),
    })
}

fn is_resource(types: &Types, import: &str) -> bool {
    let item = types.component_item_for_import(import);
    item.is_some_and(|item| {
        matches!(
            item.ty,
            ComponentEntityType::Type {
                created: wasmparser::component_types::ComponentAnyTypeId::Resource(_),
                ..
            }
        )
    })
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
    }
}

//! Counts what one instantiation makes, by walking it the way the engine does: nested
//! components are instantiated with their arguments, as often as they are asked to be.
//!
//! A few hundred bytes of nested components can ask for billions of instances, and the
//! engine unfolds them all while it compiles. The walk is bounded, so such a component
//! is refused before the engine sees it.

use std::collections::BTreeMap;

use wasmparser::ComponentExternalKind as Kind;

use crate::ComponentError;
use crate::scan::{Item, Module, Named, Scan};

/// Most core instances, memories and tables of one component, each: what the pools of
/// a node's sandbox have room for. Large ones, such as CPython with its extension
/// modules, have a few dozen.
pub const MAX_PARTS: u32 = 100;

/// Most instances of nested components, and how deep they may be nested in each other.
const MAX_COMPONENT_INSTANCES: usize = 1000;
const MAX_DEPTH: usize = 100;

/// Most items looked at; bounds the time of the walk to a fraction of a second.
const MAX_STEPS: u64 = 20_000_000;

/// Sums over one instantiation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) core_instances: u32,
    pub(crate) memories: u32,
    pub(crate) tables: u32,
    pub(crate) initial_memory: u64,
}

impl Census {
    fn check(&self) -> Result<(), ComponentError> {
        let kinds = [
            ("core instances", self.core_instances),
            ("memories", self.memories),
            ("tables", self.tables),
        ];
        match kinds.into_iter().find(|(_, count)| *count > MAX_PARTS) {
            Some((kind, count)) => {
                Err(ComponentError::TooManyParts { kind, count, allowed: MAX_PARTS })
            }
            None => Ok(()),
        }
    }
}

/// Counts over the outermost component.
pub(crate) fn take(scan: &Scan<'_>) -> Result<Census, ComponentError> {
    let mut walk =
        Walk { scan, frames: Vec::new(), instances: Vec::new(), steps: 0, sums: Census::default() };
    walk.instantiate(Closure { definition: 0, parent: None }, &BTreeMap::new(), 0)?;
    walk.sums.check()?;
    Ok(walk.sums)
}

/// What a name or an index can stand for. `None` inside is what only the host knows.
#[derive(Clone, Copy)]
enum Value {
    Module(Option<usize>),
    Component(Option<Closure>),
    /// Index into [`Walk::instances`].
    Instance(Option<usize>),
    /// Functions, types, values: nothing to instantiate.
    Other,
}

/// A component with the instance of its parent in which it was defined.
#[derive(Clone, Copy)]
struct Closure {
    definition: usize,
    parent: Option<usize>,
}

type Exports<'a> = BTreeMap<&'a str, Value>;

/// The index spaces of one component instance under way.
#[derive(Default)]
struct Frame {
    parent: Option<usize>,
    modules: Vec<Option<usize>>,
    components: Vec<Option<Closure>>,
    instances: Vec<Option<usize>>,
}

struct Walk<'s, 'a> {
    scan: &'s Scan<'a>,
    frames: Vec<Frame>,
    instances: Vec<Exports<'a>>,
    steps: u64,
    sums: Census,
}

impl<'s, 'a> Walk<'s, 'a> {
    /// Walks one component; returns what it exports, as an index of an instance.
    fn instantiate(
        &mut self,
        closure: Closure,
        args: &Exports<'a>,
        depth: usize,
    ) -> Result<usize, ComponentError> {
        if self.frames.len() >= MAX_COMPONENT_INSTANCES || depth >= MAX_DEPTH {
            return Err(too_many());
        }
        let frame = self.frames.len();
        self.frames.push(Frame { parent: closure.parent, ..Frame::default() });
        let scan = self.scan;
        let items = scan.components.get(closure.definition).map_or(&[][..], |found| &found.items);
        let mut exports = Exports::new();
        for item in items {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(too_many());
            }
            self.on_item(item, frame, args, &mut exports, depth)?;
        }
        Ok(self.add_instance(exports))
    }

    fn on_item(
        &mut self,
        item: &'s Item<'a>,
        frame: usize,
        args: &Exports<'a>,
        exports: &mut Exports<'a>,
        depth: usize,
    ) -> Result<(), ComponentError> {
        let value = match item {
            Item::Module(index) => Value::Module(Some(*index)),
            Item::Component(definition) => {
                Value::Component(Some(Closure { definition: *definition, parent: Some(frame) }))
            }
            Item::Import(name, kind) => args.get(name).copied().unwrap_or(unknown(*kind)),
            Item::CoreInstance(module) => {
                if let Value::Module(Some(module)) = self.value(frame, Kind::Module, *module) {
                    self.count(scan_module(self.scan, module))?;
                }
                return Ok(());
            }
            Item::Instantiate { component, args } => {
                let args = self.gather(frame, args);
                match self.value(frame, Kind::Component, *component) {
                    Value::Component(Some(closure)) => {
                        Value::Instance(Some(self.instantiate(closure, &args, depth + 1)?))
                    }
                    _ => Value::Instance(None),
                }
            }
            Item::Bundle(items) => {
                let gathered = self.gather(frame, items);
                Value::Instance(Some(self.add_instance(gathered)))
            }
            Item::AliasExport { kind, instance, name } => {
                self.exported(frame, *instance, name).unwrap_or(unknown(*kind))
            }
            Item::AliasOuter { kind, count, index } => {
                let outer = self.ancestor(frame, *count);
                outer.map_or(unknown(*kind), |outer| self.value(outer, *kind, *index))
            }
            Item::Export(named) => {
                let value = self.value(frame, named.kind, named.index);
                exports.insert(named.name, value);
                value
            }
        };
        self.define(frame, value);
        Ok(())
    }

    fn count(&mut self, module: Module) -> Result<(), ComponentError> {
        let sums = &mut self.sums;
        sums.core_instances += 1;
        sums.memories = sums.memories.saturating_add(module.memories);
        sums.tables = sums.tables.saturating_add(module.tables);
        sums.initial_memory = sums.initial_memory.saturating_add(module.initial_memory);
        if sums.core_instances > MAX_PARTS { Err(too_many()) } else { Ok(()) }
    }

    fn gather(&mut self, frame: usize, items: &[Named<'a>]) -> Exports<'a> {
        self.steps = self.steps.saturating_add(items.len() as u64);
        items.iter().map(|item| (item.name, self.value(frame, item.kind, item.index))).collect()
    }

    fn add_instance(&mut self, exports: Exports<'a>) -> usize {
        self.instances.push(exports);
        self.instances.len() - 1
    }

    fn exported(&self, frame: usize, instance: u32, name: &str) -> Option<Value> {
        match self.value(frame, Kind::Instance, instance) {
            Value::Instance(Some(index)) => self.instances.get(index)?.get(name).copied(),
            _ => None,
        }
    }

    fn ancestor(&self, frame: usize, count: u32) -> Option<usize> {
        (0..count).try_fold(frame, |frame, _| self.frames.get(frame)?.parent)
    }

    fn value(&self, frame: usize, kind: Kind, index: u32) -> Value {
        let Some(frame) = self.frames.get(frame) else { return unknown(kind) };
        let index = index as usize;
        match kind {
            Kind::Module => Value::Module(frame.modules.get(index).copied().flatten()),
            Kind::Component => Value::Component(frame.components.get(index).copied().flatten()),
            Kind::Instance => Value::Instance(frame.instances.get(index).copied().flatten()),
            Kind::Func | Kind::Value | Kind::Type => Value::Other,
        }
    }

    fn define(&mut self, frame: usize, value: Value) {
        let Some(frame) = self.frames.get_mut(frame) else { return };
        match value {
            Value::Module(module) => frame.modules.push(module),
            Value::Component(component) => frame.components.push(component),
            Value::Instance(instance) => frame.instances.push(instance),
            Value::Other => {}
        }
    }
}

fn scan_module(scan: &Scan<'_>, index: usize) -> Module {
    scan.modules.get(index).copied().unwrap_or_default()
}

fn unknown(kind: Kind) -> Value {
    match kind {
        Kind::Module => Value::Module(None),
        Kind::Component => Value::Component(None),
        Kind::Instance => Value::Instance(None),
        Kind::Func | Kind::Value | Kind::Type => Value::Other,
    }
}

fn too_many() -> ComponentError {
    ComponentError::TooManyInstances { allowed: MAX_PARTS }
}

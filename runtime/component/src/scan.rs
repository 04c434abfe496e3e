//! One pass over the bytes: validates everything and notes what the later steps need.

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentDefinedType,
    ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentType,
    ComponentTypeDeclaration, ComponentTypeRef, Encoding, FuncValidatorAllocations, Instance,
    InstanceTypeDeclaration, Parser, Payload, ValidPayload, Validator, WasmFeatures, types::Types,
};

use crate::ComponentError;

/// What the engine runs: what wasmtime has on by default.
const FEATURES: WasmFeatures =
    WasmFeatures::WASM3.union(WasmFeatures::COMPONENT_MODEL).union(WasmFeatures::CM_ASYNC);

/// What a pass over a component found.
pub(crate) struct Scan<'a> {
    /// The component's own types.
    pub(crate) types: Types,
    /// Every component in the file; the outermost is the first.
    pub(crate) components: Vec<Definition<'a>>,
    /// Every core module in the file.
    pub(crate) modules: Vec<Module>,
    /// Whether anything in it is asynchronous.
    pub(crate) is_async: bool,
    /// Names of the outermost component's imports and exports.
    pub(crate) imports: Vec<&'a str>,
    pub(crate) exports: Vec<&'a str>,
}

/// What one core module defines; imports do not count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Module {
    pub(crate) memories: u32,
    pub(crate) tables: u32,
    /// Sum of the memories' initial sizes in bytes.
    pub(crate) initial_memory: u64,
}

/// The items of one component that matter to counting instances, in order.
#[derive(Debug, Default)]
pub(crate) struct Definition<'a> {
    pub(crate) items: Vec<Item<'a>>,
}

/// What adds to an index space of modules, components or instances, or instantiates.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    /// A core module: index into [`Scan::modules`].
    Module(usize),
    /// A component: index into [`Scan::components`].
    Component(usize),
    Import(&'a str, ComponentExternalKind),
    /// A core module's instantiation, by index in the component.
    CoreInstance(u32),
    Instantiate {
        component: u32,
        args: Vec<Named<'a>>,
    },
    /// An instance made of items at hand.
    Bundle(Vec<Named<'a>>),
    AliasExport {
        kind: ComponentExternalKind,
        instance: u32,
        name: &'a str,
    },
    AliasOuter {
        kind: ComponentExternalKind,
        count: u32,
        index: u32,
    },
    Export(Named<'a>),
}

/// An item of an index space under a name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: ComponentExternalKind,
    pub(crate) index: u32,
}

/// Validates a whole component.
pub(crate) fn component(bytes: &[u8]) -> Result<Scan<'_>, ComponentError> {
    let mut scanner = Scanner::default();
    let types = validate(bytes, |payload| scanner.on_payload(payload))?;
    Ok(Scan {
        types,
        components: scanner.components,
        modules: scanner.modules,
        is_async: scanner.is_async,
        imports: scanner.imports,
        exports: scanner.exports,
    })
}

/// Validates a whole core module.
pub(crate) fn module(bytes: &[u8]) -> Result<(), ComponentError> {
    validate(bytes, |payload| match payload {
        Payload::MemorySection(section) => refuse_shared(section),
        _ => Ok(()),
    })?;
    Ok(())
}

fn validate<'a>(
    bytes: &'a [u8],
    mut on_payload: impl FnMut(&Payload<'a>) -> Result<(), Found>,
) -> Result<Types, ComponentError> {
    let mut validator = Validator::new_with_features(FEATURES);
    let mut allocations = FuncValidatorAllocations::default();
    let mut steps = || -> Result<Option<Types>, Found> {
        let mut outermost = None;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            match validator.payload(&payload)? {
                ValidPayload::Func(function, body) => {
                    let mut function = function.into_validator(std::mem::take(&mut allocations));
                    function.validate(&body)?;
                    allocations = function.into_allocations();
                }
                ValidPayload::End(types) => outermost = Some(types),
                _ => {}
            }
            on_payload(&payload)?;
        }
        Ok(outermost)
    };
    match steps() {
        Ok(Some(types)) => Ok(types),
        Ok(None) => Err(ComponentError::Truncated { size: bytes.len() as u64 }),
        Err(found) => Err(found.explain(bytes)),
    }
}

/// Why a pass stops.
enum Found {
    Malformed(wasmparser::Error),
    SharedMemory(usize),
}

impl From<wasmparser::Error> for Found {
    fn from(error: wasmparser::Error) -> Self {
        Self::Malformed(error)
    }
}

impl Found {
    fn explain(self, bytes: &[u8]) -> ComponentError {
        if ends_inside_a_section(bytes) {
            return ComponentError::Truncated { size: bytes.len() as u64 };
        }
        match self {
            Self::SharedMemory(offset) => ComponentError::Feature {
                offset: offset as u64,
                feature: "shared memory".to_owned(),
            },
            Self::Malformed(error) => {
                let offset = error.offset() as u64;
                let reason = error.message().replace('\n', ": ");
                match error.missing_wasm_feature() {
                    Some(_) => ComponentError::Feature { offset, feature: reason },
                    None => ComponentError::Invalid { offset, reason },
                }
            }
        }
    }
}

/// Whether the outermost list of sections is longer than the file.
fn ends_inside_a_section(bytes: &[u8]) -> bool {
    let Some(mut rest) = bytes.get(8..) else { return true };
    while let Some((_id, after_id)) = rest.split_first() {
        let Some((size, body)) = section_size(after_id) else { return true };
        match body.get(size..) {
            Some(next) => rest = next,
            None => return true,
        }
    }
    false
}

/// A section's size, as a LEB128 number of at most five bytes, and what follows it.
/// `None` where the file ends first.
fn section_size(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut size = 0_u64;
    for (position, byte) in bytes.iter().enumerate().take(5) {
        size |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(size).ok()?, bytes.get(position + 1..)?));
        }
    }
    // Five bytes and no end is malformed, not cut off: let the validator speak.
    (bytes.len() >= 5).then_some((0, &[]))
}

fn refuse_shared(section: &wasmparser::MemorySectionReader<'_>) -> Result<(), Found> {
    for memory in section.clone().into_iter_with_offsets() {
        let (offset, memory) = memory?;
        if memory.shared {
            return Err(Found::SharedMemory(offset));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Scanner<'a> {
    components: Vec<Definition<'a>>,
    modules: Vec<Module>,
    is_async: bool,
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
    /// What is being read, innermost last.
    open: Vec<Open>,
}

/// A component or module under way, by its index in the scanner's list.
#[derive(Clone, Copy)]
enum Open {
    Component(usize),
    Module(usize),
}

impl<'a> Scanner<'a> {
    fn on_payload(&mut self, payload: &Payload<'a>) -> Result<(), Found> {
        match payload {
            Payload::Version { encoding, .. } => self.on_start(*encoding),
            Payload::End(_) => {
                self.open.pop();
            }
            Payload::MemorySection(section) => self.on_memories(section)?,
            Payload::TableSection(section) => {
                let count = section.count();
                self.module(|module| module.tables = module.tables.saturating_add(count));
            }
            Payload::ComponentTypeSection(section) => {
                for ty in section.clone() {
                    self.is_async |= type_is_async(&ty?);
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section.clone() {
                    self.is_async |= function_is_async(&function?);
                }
            }
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        self.push(Item::CoreInstance(module_index));
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    self.push(instance_item(instance?));
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    if let Some(item) = alias_item(alias?) {
                        self.push(item);
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    let import = import?;
                    self.on_import(import.name.name, import.ty);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    self.on_export(Named {
                        name: export.name.name,
                        kind: export.kind,
                        index: export.index,
                    });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_start(&mut self, encoding: Encoding) {
        let opened = match encoding {
            Encoding::Module => {
                self.modules.push(Module::default());
                let index = self.modules.len() - 1;
                self.push(Item::Module(index));
                Open::Module(index)
            }
            Encoding::Component => {
                self.components.push(Definition::default());
                let index = self.components.len() - 1;
                self.push(Item::Component(index));
                Open::Component(index)
            }
        };
        self.open.push(opened);
    }

    fn on_memories(&mut self, section: &wasmparser::MemorySectionReader<'a>) -> Result<(), Found> {
        refuse_shared(section)?;
        for memory in section.clone() {
            let bytes = memory?.initial.saturating_mul(1 << 16);
            self.module(|module| {
                module.memories = module.memories.saturating_add(1);
                module.initial_memory = module.initial_memory.saturating_add(bytes);
            });
        }
        Ok(())
    }

    fn on_import(&mut self, name: &'a str, ty: ComponentTypeRef) {
        if matches!(self.open.as_slice(), [Open::Component(_)]) {
            self.imports.push(name);
        }
        self.push(Item::Import(name, ty.kind()));
    }

    fn on_export(&mut self, export: Named<'a>) {
        if matches!(self.open.as_slice(), [Open::Component(_)]) {
            self.exports.push(export.name);
        }
        self.push(Item::Export(export));
    }

    /// Adds to the innermost open component; the outermost has none around it.
    fn push(&mut self, item: Item<'a>) {
        if let Some(Open::Component(index)) = self.open.last()
            && let Some(definition) = self.components.get_mut(*index)
        {
            definition.items.push(item);
        }
    }

    fn module(&mut self, change: impl FnOnce(&mut Module)) {
        if let Some(Open::Module(index)) = self.open.last()
            && let Some(module) = self.modules.get_mut(*index)
        {
            change(module);
        }
    }
}

fn instance_item(instance: ComponentInstance<'_>) -> Item<'_> {
    match instance {
        ComponentInstance::Instantiate { component_index, args } => Item::Instantiate {
            component: component_index,
            args: args
                .iter()
                .map(|arg| Named { name: arg.name, kind: arg.kind, index: arg.index })
                .collect(),
        },
        ComponentInstance::FromExports(exports) => Item::Bundle(
            exports
                .iter()
                .map(|item| Named { name: item.name.name, kind: item.kind, index: item.index })
                .collect(),
        ),
    }
}

fn alias_item(alias: ComponentAlias<'_>) -> Option<Item<'_>> {
    match alias {
        ComponentAlias::InstanceExport { kind, instance_index, name } => {
            Some(Item::AliasExport { kind, instance: instance_index, name })
        }
        ComponentAlias::Outer { kind, count, index } => {
            let kind = match kind {
                ComponentOuterAliasKind::CoreModule => ComponentExternalKind::Module,
                ComponentOuterAliasKind::Component => ComponentExternalKind::Component,
                ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => return None,
            };
            Some(Item::AliasOuter { kind, count, index })
        }
        ComponentAlias::CoreInstanceExport { .. } => None,
    }
}

fn type_is_async(ty: &ComponentType<'_>) -> bool {
    match ty {
        ComponentType::Defined(defined) => {
            matches!(defined, ComponentDefinedType::Future(_) | ComponentDefinedType::Stream(_))
        }
        ComponentType::Func(function) => function.async_,
        ComponentType::Component(declarations) => declarations.iter().any(|declaration| {
            matches!(declaration, ComponentTypeDeclaration::Type(ty) if type_is_async(ty))
        }),
        ComponentType::Instance(declarations) => declarations.iter().any(|declaration| {
            matches!(declaration, InstanceTypeDeclaration::Type(ty) if type_is_async(ty))
        }),
        ComponentType::Resource { .. } => false,
    }
}

fn function_is_async(function: &CanonicalFunction) -> bool {
    match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => {
            options.contains(&CanonicalOption::Async)
        }
        CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => false,
        // Everything else came with the asynchronous canonical ABI.
        _ => true,
    }
}

//! What a component consists of, in the binary's own order.
//!
//! A [`ComponentDef`] is the decoded form of one component: a list of definitions, each adding one
//! entry to one index space, exactly as in the binary. Nothing is resolved here: indices are those
//! of the binary, and instantiation walks the list and evaluates one definition after another, in
//! the scope of the enclosing components (Explainer.md, "Component Definitions").

use crate::engine::CoreModule;
use std::sync::Arc;

/// A name in the component model: shared, since values carry the names of their types.
pub(crate) type Name = Arc<str>;

/// One component: its definitions in binary order.
#[derive(Debug)]
pub(crate) struct ComponentDef {
    /// Its name in the name section, else empty.
    pub(crate) name: Option<Name>,
    /// The definitions, each adding one entry to one index space (an export adds one too).
    pub(crate) definitions: Box<[Definition]>,
    /// Debug names (component-name custom section): core instances, by index.
    pub(crate) core_instance_names: Box<[(u32, Name)]>,
    /// Debug names (component-name custom section): instances, by index.
    pub(crate) instance_names: Box<[(u32, Name)]>,
    /// Debug names (component-name custom section): component functions, by index.
    pub(crate) func_names: Box<[(u32, Name)]>,
}

/// One definition.
#[derive(Debug)]
pub(crate) enum Definition {
    CoreModule(Arc<CoreModule>),
    CoreInstance(CoreInstanceDef),
    CoreType(CoreTypeDef),
    Component(Arc<ComponentDef>),
    Instance(InstanceDef),
    Alias(Alias),
    Type(TypeDef),
    Canon(Canon),
    Import {
        name: Name,
        ty: ExternTypeDef,
    },
    Export {
        name: Name,
        sort: Sort,
        index: u32,
        ty: Option<ExternTypeDef>,
    },
}

/// The sorts of component-level definitions that have an index space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sort {
    CoreModule,
    Func,
    Value,
    Type,
    Component,
    Instance,
}

/// The sorts of core definitions that a core instance exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum CoreSort {
    Func,
    Table,
    Memory,
    Global,
    Tag,
}

#[derive(Debug)]
pub(crate) enum CoreInstanceDef {
    /// `(instantiate $module (with "name" (instance $i)) ..)`
    Instantiate {
        module: u32,
        args: Box<[(Name, u32)]>,
    },
    FromExports(Box<[(Name, CoreSort, u32)]>),
}

#[derive(Debug)]
pub(crate) enum InstanceDef {
    Instantiate {
        component: u32,
        args: Box<[(Name, Sort, u32)]>,
    },
    FromExports(Box<[(Name, Sort, u32)]>),
}

#[derive(Debug, Clone)]
pub(crate) enum Alias {
    InstanceExport {
        sort: Sort,
        instance: u32,
        name: Name,
    },
    CoreInstanceExport {
        sort: CoreSort,
        instance: u32,
        name: Name,
    },
    /// `count` 0 is this component.
    Outer {
        sort: OuterSort,
        count: u32,
        index: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OuterSort {
    CoreModule,
    CoreType,
    Type,
    Component,
}

/// A core type: only function types can be referred to by what we run.
#[derive(Debug, Clone)]
pub(crate) enum CoreTypeDef {
    /// A function type, as `canon thread.new-indirect` uses it.
    Func(Arc<CoreFuncTypeDef>),
    /// A module type: what an import of a core module asks for.
    Module(Arc<CoreModuleTypeDef>),
    /// A type nothing at run time refers to.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CoreFuncTypeDef {
    pub(crate) params: Box<[wasmparser::ValType]>,
    pub(crate) results: Box<[wasmparser::ValType]>,
}

/// The imports and exports of a core module type; their types as the validator resolved them.
#[derive(Debug, Clone, Default)]
pub(crate) struct CoreModuleTypeDef {
    pub(crate) imports: Vec<(String, String, CoreExternType)>,
    pub(crate) exports: Vec<(String, CoreExternType)>,
}

/// The type of a core import or export. Function types are shared: a few bytes of input refer to a
/// type of a thousand parameters, any number of times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CoreExternType {
    Func(Arc<CoreFuncTypeDef>),
    Table(wasmparser::TableType),
    Memory(wasmparser::MemoryType),
    Global(wasmparser::GlobalType),
    Tag(Arc<CoreFuncTypeDef>),
}

#[derive(Debug, Clone)]
pub(crate) enum TypeDef {
    Value(ValTypeDef),
    Func(Arc<FuncTypeDef>),
    Component(Arc<[TypeDecl]>),
    Instance(Arc<[TypeDecl]>),
    /// A new resource type; `dtor` is a core function index.
    Resource {
        dtor: Option<u32>,
    },
}

/// A reference to a value type: primitive, or an index into the type index space.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ValTypeRef {
    Prim(Prim),
    Index(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prim {
    Bool,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F32,
    F64,
    Char,
    String,
    ErrorContext,
}

#[derive(Debug, Clone)]
pub(crate) enum ValTypeDef {
    Prim(Prim),
    Record(Box<[(Name, ValTypeRef)]>),
    Variant(Box<[(Name, Option<ValTypeRef>)]>),
    List(ValTypeRef),
    FixedLengthList(ValTypeRef, u32),
    Map(ValTypeRef, ValTypeRef),
    Tuple(Box<[ValTypeRef]>),
    Flags(Box<[Name]>),
    Enum(Box<[Name]>),
    Option(ValTypeRef),
    Result {
        ok: Option<ValTypeRef>,
        err: Option<ValTypeRef>,
    },
    Own(u32),
    Borrow(u32),
    Stream(Option<ValTypeRef>),
    Future(Option<ValTypeRef>),
}

#[derive(Debug)]
pub(crate) struct FuncTypeDef {
    pub(crate) async_: bool,
    pub(crate) params: Box<[(Name, ValTypeRef)]>,
    pub(crate) result: Option<ValTypeRef>,
}

/// One declaration of a component type or an instance type; each adds one entry to an index space
/// of the type's own scope, as a definition does in a component.
#[derive(Debug)]
pub(crate) enum TypeDecl {
    CoreType(CoreTypeDef),
    Type(TypeDef),
    Alias(Alias),
    Import { name: Name, ty: ExternTypeDef },
    Export { name: Name, ty: ExternTypeDef },
}

/// What an import or an export is declared to be; indices are into the type index spaces.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ExternTypeDef {
    /// A core type index.
    CoreModule(u32),
    Func(u32),
    Value(ValTypeRef),
    /// `(type (eq $i))`
    TypeEq(u32),
    /// `(type (sub resource))`
    SubResource,
    Component(u32),
    Instance(u32),
}

/// A canonical definition. All but `Lift` add a core function.
#[derive(Debug)]
pub(crate) enum Canon {
    Lift {
        core_func: u32,
        ty: u32,
        options: CanonOptions,
    },
    Lower {
        func: u32,
        options: CanonOptions,
    },
    ResourceNew {
        resource: u32,
    },
    ResourceDrop {
        resource: u32,
    },
    ResourceRep {
        resource: u32,
    },
    ContextGet {
        ty: wasmparser::ValType,
        slot: u32,
    },
    ContextSet {
        ty: wasmparser::ValType,
        slot: u32,
    },
    BackpressureInc,
    BackpressureDec,
    TaskReturn {
        result: Option<ValTypeRef>,
        options: CanonOptions,
    },
    TaskCancel,
    WaitableSetNew,
    WaitableSetWait {
        memory: u32,
    },
    WaitableSetPoll {
        memory: u32,
    },
    WaitableSetDrop,
    WaitableJoin,
    SubtaskCancel {
        async_: bool,
    },
    SubtaskDrop,
    ThreadYield,
    /// A built-in whose core signature the validator gave.
    Builtin {
        builtin: BuiltinDef,
        params: Box<[wasmparser::ValType]>,
        results: Box<[wasmparser::ValType]>,
    },
}

/// The built-ins of threads, streams, futures and error contexts. `ty` is the type index of a
/// stream or a future.
#[derive(Debug)]
pub(crate) enum BuiltinDef {
    ThreadIndex,
    ThreadNewIndirect {
        table: u32,
    },
    ThreadResumeLater,
    ThreadSuspend,
    ThreadSuspendThenResume,
    ThreadYieldThenResume,
    ThreadSuspendThenPromote,
    ThreadYieldThenPromote,
    /// `{stream,future}.new`
    New {
        ty: u32,
    },
    /// `{stream,future}.{read,write}`
    Copy {
        ty: u32,
        readable: bool,
        options: CanonOptions,
    },
    /// `{stream,future}.cancel-{read,write}`
    CancelCopy {
        ty: u32,
        readable: bool,
        async_: bool,
    },
    /// `{stream,future}.drop-{readable,writable}`
    DropEnd {
        ty: u32,
        readable: bool,
    },
    /// `{stream,future}.forward`
    Forward {
        ty: u32,
    },
    ErrorContextNew {
        options: CanonOptions,
    },
    ErrorContextDebugMessage {
        options: CanonOptions,
    },
    ErrorContextDrop,
    /// A built-in that this host does not have: calling it traps with its name.
    Unsupported {
        name: &'static str,
    },
}

/// The canonical options of a definition; indices are into the core index spaces.
#[derive(Debug, Clone, Default)]
pub(crate) struct CanonOptions {
    pub(crate) string_encoding: StringEncoding,
    pub(crate) memory: Option<u32>,
    pub(crate) realloc: Option<u32>,
    pub(crate) post_return: Option<u32>,
    pub(crate) async_: bool,
    pub(crate) callback: Option<u32>,
}

/// How strings are encoded in linear memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum StringEncoding {
    #[default]
    Utf8,
    Utf16,
    Latin1Utf16,
}

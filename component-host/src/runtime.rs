//! What the definitions of a component are at run time: items, types, and the scopes they are in.

use crate::abi::canon_lower::FuncInst;
use crate::component::definitions::{
    Alias, ComponentDef, CoreModuleTypeDef, CoreTypeDef, ExternTypeDef, FuncTypeDef, Name,
    OuterSort, Prim, TypeDecl, TypeDef, ValTypeDef, ValTypeRef,
};
use crate::engine::CoreModule;
use crate::error::{Error, bug};
use crate::types::{FuncType, ResourceType, Type};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Anything a component instance can import or export.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    CoreModule(Arc<CoreModule>),
    Func(FuncInst),
    Type(RtType),
    Component(RtComponent),
    Instance(Rc<RtInstance>),
}

/// A component instance, as others see it.
#[derive(Debug, Default)]
pub(crate) struct RtInstance {
    pub(crate) exports: BTreeMap<Name, Item>,
}

/// A component definition in the scope it was made in.
#[derive(Debug, Clone)]
pub(crate) struct RtComponent {
    pub(crate) def: Arc<ComponentDef>,
    /// What its outer aliases refer to; the root has none.
    pub(crate) env: Option<ScopeRef>,
}

/// The scope in which something was defined. A scope that holds its own definitions must not hold
/// itself: that would be a cycle, and never be freed.
#[derive(Debug, Clone)]
pub(crate) enum ScopeRef {
    /// The scope that holds the definition.
    Holder,
    Other(Rc<Env>),
}

impl ScopeRef {
    /// What is taken out of its scope must say which that was.
    fn taken_from(&mut self, holder: &Rc<Env>) {
        if matches!(self, ScopeRef::Holder) {
            *self = ScopeRef::Other(Rc::clone(holder));
        }
    }

    pub(crate) fn scope(self) -> Result<Rc<Env>, Error> {
        match self {
            ScopeRef::Other(env) => Ok(env),
            ScopeRef::Holder => Err(bug!("a definition was taken out of its scope unnoticed")),
        }
    }
}

/// A type at run time: value types are resolved, resource types have an identity.
#[derive(Debug, Clone)]
pub(crate) enum RtType {
    Value(Type),
    Func(Arc<FuncType>),
    Resource(ResourceType),
    /// An instance type, evaluated when an import is matched with it.
    Instance(Arc<[TypeDecl]>, ScopeRef),
    /// A component type: the validator has checked all that depends on it.
    Component,
}

/// The index spaces that an inner scope can refer to by outer aliases.
#[derive(Debug, Default)]
pub(crate) struct Env {
    pub(crate) parent: Option<Rc<Env>>,
    pub(crate) core_modules: RefCell<Vec<Arc<CoreModule>>>,
    pub(crate) core_types: RefCell<Vec<CoreTypeDef>>,
    pub(crate) types: RefCell<Vec<RtType>>,
    pub(crate) components: RefCell<Vec<RtComponent>>,
}

impl Item {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Item::CoreModule(_) => "a core module",
            Item::Func(_) => "a function",
            Item::Type(RtType::Resource(_)) => "a resource type",
            Item::Type(_) => "a type",
            Item::Component(_) => "a component",
            Item::Instance(_) => "an instance",
        }
    }
}

impl Drop for Env {
    /// Scopes may be nested a thousand deep: they are let go one by one, not recursively.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(env) = parent {
            match Rc::try_unwrap(env) {
                Ok(mut env) => parent = env.parent.take(),
                Err(_) => break,
            }
        }
    }
}

impl Env {
    pub(crate) fn new(parent: Option<Rc<Env>>) -> Rc<Env> {
        let mut env = Env::default();
        env.parent = parent;
        Rc::new(env)
    }

    /// Lets all definitions go.
    pub(crate) fn clear(&self) {
        // Taken out first: dropping one of them may drop another scope, and come back here.
        let types = self.types.take();
        let components = self.components.take();
        drop((types, components));
    }

    /// The scope `count` levels out; 0 is this one.
    pub(crate) fn outer(self: &Rc<Self>, count: u32) -> Result<Rc<Env>, Error> {
        let mut env = Rc::clone(self);
        for _ in 0..count {
            let parent = env.parent.clone();
            env = parent.ok_or_else(|| bug!("an outer alias reaches beyond the root"))?;
        }
        Ok(env)
    }

    pub(crate) fn core_module(&self, index: u32) -> Result<Arc<CoreModule>, Error> {
        at(&self.core_modules.borrow(), index, "core module")
    }

    pub(crate) fn component(self: &Rc<Self>, index: u32) -> Result<RtComponent, Error> {
        let mut component = at(&self.components.borrow(), index, "component")?;
        if let Some(scope) = &mut component.env {
            scope.taken_from(self);
        }
        Ok(component)
    }

    pub(crate) fn ty(self: &Rc<Self>, index: u32) -> Result<RtType, Error> {
        let mut ty = at(&self.types.borrow(), index, "type")?;
        if let RtType::Instance(_, scope) = &mut ty {
            scope.taken_from(self);
        }
        Ok(ty)
    }

    /// Adds a type; one that this scope defined stays its own.
    pub(crate) fn add_type(self: &Rc<Self>, mut ty: RtType) {
        if let RtType::Instance(_, scope) = &mut ty
            && matches!(scope, ScopeRef::Other(env) if Rc::ptr_eq(env, self))
        {
            *scope = ScopeRef::Holder;
        }
        self.types.borrow_mut().push(ty);
    }

    /// Adds a component; one that this scope defined stays its own.
    pub(crate) fn add_component(self: &Rc<Self>, mut component: RtComponent) {
        if matches!(&component.env, Some(ScopeRef::Other(env)) if Rc::ptr_eq(env, self)) {
            component.env = Some(ScopeRef::Holder);
        }
        self.components.borrow_mut().push(component);
    }

    pub(crate) fn func_type(self: &Rc<Self>, index: u32) -> Result<Arc<FuncType>, Error> {
        match self.ty(index)? {
            RtType::Func(ty) => Ok(ty),
            other => Err(bug!("type {index} is {other:?}, not a function type")),
        }
    }

    pub(crate) fn resource(self: &Rc<Self>, index: u32) -> Result<ResourceType, Error> {
        match self.ty(index)? {
            RtType::Resource(rt) => Ok(rt),
            other => Err(bug!("type {index} is {other:?}, not a resource type")),
        }
    }

    /// Adds what an outer alias refers to.
    pub(crate) fn add_outer(
        self: &Rc<Self>,
        sort: OuterSort,
        count: u32,
        index: u32,
    ) -> Result<(), Error> {
        let outer = self.outer(count)?;
        match sort {
            OuterSort::CoreModule => {
                let module = outer.core_module(index)?;
                self.core_modules.borrow_mut().push(module);
            }
            OuterSort::CoreType => {
                let ty = at(&outer.core_types.borrow(), index, "core type")?;
                self.core_types.borrow_mut().push(ty);
            }
            OuterSort::Type => {
                let ty = outer.ty(index)?;
                self.add_type(ty);
            }
            OuterSort::Component => {
                let component = outer.component(index)?;
                self.add_component(component);
            }
        }
        Ok(())
    }

    /// Evaluates a type definition; resource types are the caller's business.
    pub(crate) fn eval(self: &Rc<Self>, def: &TypeDef) -> Result<RtType, Error> {
        match def {
            TypeDef::Value(def) => self.eval_value(def).map(RtType::Value),
            TypeDef::Func(def) => self.eval_func(def).map(|ty| RtType::Func(Arc::new(ty))),
            TypeDef::Instance(decls) => Ok(RtType::Instance(Arc::clone(decls), ScopeRef::Holder)),
            TypeDef::Component(_) => Ok(RtType::Component),
            TypeDef::Resource { .. } => Err(bug!("a resource type was evaluated as another")),
        }
    }

    fn eval_func(self: &Rc<Self>, def: &FuncTypeDef) -> Result<FuncType, Error> {
        let params = def
            .params
            .iter()
            .map(|(name, ty)| Ok((name.clone(), self.eval_ref(ty)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(FuncType::new(
            def.async_,
            params,
            self.eval_opt(&def.result)?,
        ))
    }

    pub(crate) fn eval_opt(
        self: &Rc<Self>,
        ty: &Option<ValTypeRef>,
    ) -> Result<Option<Type>, Error> {
        ty.as_ref().map(|ty| self.eval_ref(ty)).transpose()
    }

    fn eval_ref(self: &Rc<Self>, ty: &ValTypeRef) -> Result<Type, Error> {
        match ty {
            ValTypeRef::Prim(prim) => Ok(prim_type(*prim)),
            ValTypeRef::Index(index) => match self.ty(*index)? {
                RtType::Value(ty) => Ok(ty),
                other => Err(bug!("type {index} is {other:?}, not a value type")),
            },
        }
    }

    fn eval_value(self: &Rc<Self>, def: &ValTypeDef) -> Result<Type, Error> {
        Ok(match def {
            ValTypeDef::Prim(prim) => prim_type(*prim),
            ValTypeDef::Record(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, ty)| Ok((name.clone(), self.eval_ref(ty)?)))
                    .collect::<Result<Vec<_>, Error>>()?;
                Type::record(fields)
            }
            ValTypeDef::Variant(cases) => {
                let cases = cases
                    .iter()
                    .map(|(name, ty)| Ok((name.clone(), self.eval_opt(ty)?)))
                    .collect::<Result<Vec<_>, Error>>()?;
                Type::variant(cases)
            }
            ValTypeDef::List(ty) => Type::list(self.eval_ref(ty)?),
            ValTypeDef::FixedLengthList(ty, length) => {
                Type::fixed_length_list(self.eval_ref(ty)?, *length)
            }
            ValTypeDef::Map(key, value) => Type::map(self.eval_ref(key)?, self.eval_ref(value)?),
            ValTypeDef::Tuple(fields) => {
                let fields = fields
                    .iter()
                    .map(|ty| self.eval_ref(ty))
                    .collect::<Result<Vec<_>, Error>>()?;
                Type::tuple(fields)
            }
            ValTypeDef::Flags(names) => Type::flags(names.clone()),
            ValTypeDef::Enum(names) => Type::enum_(names.clone()),
            ValTypeDef::Option(ty) => Type::option(self.eval_ref(ty)?),
            ValTypeDef::Result { ok, err } => Type::result(self.eval_opt(ok)?, self.eval_opt(err)?),
            ValTypeDef::Own(index) => Type::Own(self.resource(*index)?),
            ValTypeDef::Borrow(index) => Type::Borrow(self.resource(*index)?),
            ValTypeDef::Stream(ty) => Type::stream(self.eval_opt(ty)?),
            ValTypeDef::Future(ty) => Type::future(self.eval_opt(ty)?),
        })
    }
}

fn prim_type(prim: Prim) -> Type {
    match prim {
        Prim::Bool => Type::Bool,
        Prim::S8 => Type::S8,
        Prim::U8 => Type::U8,
        Prim::S16 => Type::S16,
        Prim::U16 => Type::U16,
        Prim::S32 => Type::S32,
        Prim::U32 => Type::U32,
        Prim::S64 => Type::S64,
        Prim::U64 => Type::U64,
        Prim::F32 => Type::Float32,
        Prim::F64 => Type::Float64,
        Prim::Char => Type::Char,
        Prim::String => Type::String,
        Prim::ErrorContext => Type::ErrorContext,
    }
}

/// An entry of an index space; the validator has checked every index.
pub(crate) fn at<V: Clone>(space: &[V], index: u32, what: &str) -> Result<V, Error> {
    space
        .get(index as usize)
        .cloned()
        .ok_or_else(|| bug!("there is no {what} {index}"))
}

/// Gives the exports that an instance type declares, evaluated one by one. `export` returns what
/// the export is bound to, if anything; false when it did not for each of them.
pub(crate) fn for_each_export(
    decls: &[TypeDecl],
    env: &Rc<Env>,
    mut export: impl FnMut(&Name, Declared) -> Result<Option<Item>, Error>,
) -> Result<bool, Error> {
    let scope = Env::new(Some(Rc::clone(env)));
    // The instances that it exports: what it may take types out of.
    let mut instances: Vec<Rc<RtInstance>> = Vec::new();
    let mut complete = true;
    for decl in decls {
        let exported = match decl {
            TypeDecl::CoreType(ty) => {
                scope.core_types.borrow_mut().push(ty.clone());
                continue;
            }
            TypeDecl::Type(TypeDef::Resource { .. }) => {
                return Err(bug!("an instance type defines a resource type"));
            }
            TypeDecl::Type(def) => Item::Type(scope.eval(def)?),
            TypeDecl::Alias(Alias::Outer { sort, count, index }) => {
                scope.add_outer(*sort, *count, *index)?;
                continue;
            }
            TypeDecl::Alias(Alias::InstanceExport { instance, name, .. }) => {
                let instance = at(&instances, *instance, "instance")?;
                match instance.exports.get(name) {
                    Some(item) => item.clone(),
                    None => return Err(bug!("an instance type has no export `{name}`")),
                }
            }
            TypeDecl::Alias(Alias::CoreInstanceExport { .. }) => {
                return Err(bug!("an instance type has a core instance"));
            }
            TypeDecl::Import { .. } => return Err(bug!("an instance type has an import")),
            TypeDecl::Export { name, ty } => {
                match export(name, Declared::eval(&scope, ty)?)? {
                    Some(item) => item,
                    // Later declarations may need what is not there.
                    None if matches!(ty, ExternTypeDef::Instance(_)) => return Ok(false),
                    None => {
                        complete = false;
                        continue;
                    }
                }
            }
        };
        match exported {
            Item::Type(ty) => scope.add_type(ty),
            Item::Instance(instance) => instances.push(instance),
            // No declaration refers to these.
            Item::CoreModule(_) | Item::Func(_) | Item::Component(_) => {}
        }
    }
    Ok(complete)
}

/// What an import, or an export of an instance type, is declared to be.
#[derive(Debug)]
pub(crate) enum Declared {
    CoreModule(Arc<CoreModuleTypeDef>),
    Func(Arc<FuncType>),
    /// A type that is equal to this one.
    TypeEq(RtType),
    SubResource,
    Component,
    Instance(Arc<[TypeDecl]>, Rc<Env>),
    Value,
}

impl Declared {
    pub(crate) fn eval(env: &Rc<Env>, ty: &ExternTypeDef) -> Result<Declared, Error> {
        Ok(match ty {
            ExternTypeDef::CoreModule(index) => {
                match at(&env.core_types.borrow(), *index, "core type")? {
                    CoreTypeDef::Module(ty) => Declared::CoreModule(ty),
                    other => return Err(bug!("core type {index} is {other:?}, not a module type")),
                }
            }
            ExternTypeDef::Func(index) => Declared::Func(env.func_type(*index)?),
            ExternTypeDef::Value(_) => Declared::Value,
            ExternTypeDef::TypeEq(index) => Declared::TypeEq(env.ty(*index)?),
            ExternTypeDef::SubResource => Declared::SubResource,
            ExternTypeDef::Component(_) => Declared::Component,
            ExternTypeDef::Instance(index) => match env.ty(*index)? {
                RtType::Instance(decls, scope) => Declared::Instance(decls, scope.scope()?),
                other => return Err(bug!("type {index} is {other:?}, not an instance type")),
            },
        })
    }
}

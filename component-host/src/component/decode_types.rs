//! Turns type definitions, component-level and core, into ours.
//!
//! Component-level types keep the indices of the binary. Core module types do not: what an import
//! of a core module asks for is compared with a real module, so the types in them are resolved
//! here, through the scopes that are open ([`CoreScopes`]).

use super::definitions::{
    Alias, CoreExternType, CoreFuncTypeDef, CoreInstanceDef, CoreModuleTypeDef, CoreSort,
    CoreTypeDef, ExternTypeDef, FuncTypeDef, InstanceDef, Name, OuterSort, Prim, Sort, TypeDecl,
    TypeDef, ValTypeDef, ValTypeRef,
};
use crate::error::{Result, bug};
use std::sync::Arc;
use wasmparser::{
    ComponentAlias, ComponentDefinedType, ComponentExternalKind, ComponentFuncType,
    ComponentInstance, ComponentOuterAliasKind, ComponentType, ComponentTypeDeclaration,
    ComponentTypeRef, ComponentValType, CompositeInnerType, CoreType, ExternalKind, FuncType,
    Import, Instance, InstanceTypeDeclaration, ModuleTypeDeclaration, PrimitiveValType, RecGroup,
    SubType, TypeBounds, TypeRef,
};

/// The core type index spaces of the scopes that are open, innermost last: components, component
/// types, instance types, and core module types.
#[derive(Debug, Default)]
pub(super) struct CoreScopes(Vec<Vec<CoreTypeDef>>);

impl CoreScopes {
    pub(super) fn enter(&mut self) {
        self.0.push(Vec::new());
    }

    pub(super) fn leave(&mut self) {
        self.0.pop();
    }

    pub(super) fn push(&mut self, ty: CoreTypeDef) {
        if let Some(scope) = self.0.last_mut() {
            scope.push(ty);
        }
    }

    /// The type `index` of the scope `count` scopes out; 0 is the innermost.
    fn outer(&self, count: u32, index: u32) -> Result<CoreTypeDef> {
        let depth = self.0.len().checked_sub(1 + count as usize);
        depth
            .and_then(|depth| self.0.get(depth)?.get(index as usize).cloned())
            .ok_or_else(|| bug!("core type {index} of scope {count} is missing after validation"))
    }

    /// What an alias adds to the core type index space, if it adds to that one.
    pub(super) fn alias(&mut self, alias: &Alias) -> Result<()> {
        if let Alias::Outer {
            sort: OuterSort::CoreType,
            count,
            index,
        } = *alias
        {
            let ty = self.outer(count, index)?;
            self.push(ty);
        }
        Ok(())
    }

    /// The definitions that one core type adds: a recursion group adds one for each of its types.
    pub(super) fn core_types(&mut self, ty: CoreType<'_>) -> Result<Vec<CoreTypeDef>> {
        let types = match ty {
            CoreType::Rec(group) => rec_group(&group),
            CoreType::Module(declarations) => {
                self.enter();
                let module = self.module_type(&declarations);
                self.leave();
                vec![CoreTypeDef::Module(Arc::new(module?))]
            }
        };
        for ty in &types {
            self.push(ty.clone());
        }
        Ok(types)
    }

    fn module_type(
        &mut self,
        declarations: &[ModuleTypeDeclaration<'_>],
    ) -> Result<CoreModuleTypeDef> {
        let mut module = CoreModuleTypeDef::default();
        for declaration in declarations {
            match declaration {
                ModuleTypeDeclaration::Type(group) => {
                    rec_group(group).into_iter().for_each(|ty| self.push(ty));
                }
                ModuleTypeDeclaration::OuterAlias { count, index, .. } => {
                    let ty = self.outer(*count, *index)?;
                    self.push(ty);
                }
                ModuleTypeDeclaration::Import(Import {
                    module: from,
                    name,
                    ty,
                }) => {
                    let ty = self.core_extern_type(*ty)?;
                    module
                        .imports
                        .push((from.to_string(), name.to_string(), ty));
                }
                ModuleTypeDeclaration::Export { name, ty } => {
                    let ty = self.core_extern_type(*ty)?;
                    module.exports.push((name.to_string(), ty));
                }
            }
        }
        Ok(module)
    }

    fn core_extern_type(&self, ty: TypeRef) -> Result<CoreExternType> {
        Ok(match ty {
            TypeRef::Func(index) | TypeRef::FuncExact(index) => {
                CoreExternType::Func(self.core_func_type(index)?)
            }
            TypeRef::Table(ty) => CoreExternType::Table(ty),
            TypeRef::Memory(ty) => CoreExternType::Memory(ty),
            TypeRef::Global(ty) => CoreExternType::Global(ty),
            TypeRef::Tag(ty) => CoreExternType::Tag(self.core_func_type(ty.func_type_idx)?),
        })
    }

    fn core_func_type(&self, index: u32) -> Result<Arc<CoreFuncTypeDef>> {
        match self.outer(0, index)? {
            CoreTypeDef::Func(ty) => Ok(ty),
            CoreTypeDef::Module(_) | CoreTypeDef::Other => Err(bug!(
                "core type {index} is no function type after validation"
            )),
        }
    }

    /// A component-level type definition. Types nest at most 100 deep, which the reader enforces.
    pub(super) fn type_def(&mut self, ty: ComponentType<'_>) -> Result<TypeDef> {
        Ok(match ty {
            ComponentType::Defined(ty) => TypeDef::Value(val_type_def(ty)),
            ComponentType::Func(ty) => TypeDef::Func(Arc::new(func_type_def(&ty))),
            ComponentType::Component(declarations) => {
                TypeDef::Component(self.scoped(declarations, CoreScopes::component_decl)?)
            }
            ComponentType::Instance(declarations) => {
                TypeDef::Instance(self.scoped(declarations, CoreScopes::instance_decl)?)
            }
            ComponentType::Resource { dtor, .. } => TypeDef::Resource { dtor },
        })
    }

    /// The declarations of a component type or an instance type, in a scope of their own.
    fn scoped<D>(
        &mut self,
        declarations: Box<[D]>,
        mut declare: impl FnMut(&mut Self, D, &mut Vec<TypeDecl>) -> Result<()>,
    ) -> Result<Arc<[TypeDecl]>> {
        self.enter();
        let mut out = Vec::with_capacity(declarations.len());
        let done = declarations
            .into_iter()
            .try_for_each(|declaration| declare(self, declaration, &mut out));
        self.leave();
        done.map(|()| out.into())
    }

    fn component_decl(
        &mut self,
        declaration: ComponentTypeDeclaration<'_>,
        out: &mut Vec<TypeDecl>,
    ) -> Result<()> {
        let declaration = match declaration {
            ComponentTypeDeclaration::CoreType(ty) => InstanceTypeDeclaration::CoreType(ty),
            ComponentTypeDeclaration::Type(ty) => InstanceTypeDeclaration::Type(ty),
            ComponentTypeDeclaration::Alias(alias) => InstanceTypeDeclaration::Alias(alias),
            ComponentTypeDeclaration::Export { name, ty } => {
                InstanceTypeDeclaration::Export { name, ty }
            }
            ComponentTypeDeclaration::Import(import) => {
                out.push(TypeDecl::Import {
                    name: import.name.name.into(),
                    ty: extern_type(import.ty),
                });
                return Ok(());
            }
        };
        self.instance_decl(declaration, out)
    }

    fn instance_decl(
        &mut self,
        declaration: InstanceTypeDeclaration<'_>,
        out: &mut Vec<TypeDecl>,
    ) -> Result<()> {
        out.push(match declaration {
            InstanceTypeDeclaration::CoreType(ty) => {
                out.extend(self.core_types(ty)?.into_iter().map(TypeDecl::CoreType));
                return Ok(());
            }
            InstanceTypeDeclaration::Type(ty) => TypeDecl::Type(self.type_def(ty)?),
            InstanceTypeDeclaration::Alias(alias) => {
                let alias = alias_def(&alias);
                self.alias(&alias)?;
                TypeDecl::Alias(alias)
            }
            InstanceTypeDeclaration::Export { name, ty } => TypeDecl::Export {
                name: name.name.into(),
                ty: extern_type(ty),
            },
        });
        Ok(())
    }
}

fn rec_group(group: &RecGroup) -> Vec<CoreTypeDef> {
    group.types().map(sub_type).collect()
}

fn sub_type(ty: &SubType) -> CoreTypeDef {
    match &ty.composite_type.inner {
        CompositeInnerType::Func(ty) => CoreTypeDef::Func(Arc::new(core_func_type_def(ty))),
        CompositeInnerType::Array(_)
        | CompositeInnerType::Struct(_)
        | CompositeInnerType::Cont(_) => CoreTypeDef::Other,
    }
}

pub(super) fn core_func_type_def(ty: &FuncType) -> CoreFuncTypeDef {
    CoreFuncTypeDef {
        params: ty.params().into(),
        results: ty.results().into(),
    }
}

pub(super) fn core_instance(instance: Instance<'_>) -> CoreInstanceDef {
    match instance {
        Instance::Instantiate { module_index, args } => CoreInstanceDef::Instantiate {
            module: module_index,
            args: args
                .iter()
                .map(|arg| (arg.name.into(), arg.index))
                .collect(),
        },
        Instance::FromExports(exports) => CoreInstanceDef::FromExports(
            exports
                .iter()
                .map(|export| (export.name.into(), core_sort(export.kind), export.index))
                .collect(),
        ),
    }
}

pub(super) fn component_instance(instance: ComponentInstance<'_>) -> InstanceDef {
    match instance {
        ComponentInstance::Instantiate {
            component_index,
            args,
        } => InstanceDef::Instantiate {
            component: component_index,
            args: args
                .iter()
                .map(|arg| (arg.name.into(), sort(arg.kind), arg.index))
                .collect(),
        },
        ComponentInstance::FromExports(exports) => InstanceDef::FromExports(
            exports
                .iter()
                .map(|export| (export.name.name.into(), sort(export.kind), export.index))
                .collect(),
        ),
    }
}

pub(super) fn alias_def(alias: &ComponentAlias<'_>) -> Alias {
    match *alias {
        ComponentAlias::InstanceExport {
            kind,
            instance_index,
            name,
        } => Alias::InstanceExport {
            sort: sort(kind),
            instance: instance_index,
            name: name.into(),
        },
        ComponentAlias::CoreInstanceExport {
            kind,
            instance_index,
            name,
        } => Alias::CoreInstanceExport {
            sort: core_sort(kind),
            instance: instance_index,
            name: name.into(),
        },
        ComponentAlias::Outer { kind, count, index } => Alias::Outer {
            sort: match kind {
                ComponentOuterAliasKind::CoreModule => OuterSort::CoreModule,
                ComponentOuterAliasKind::CoreType => OuterSort::CoreType,
                ComponentOuterAliasKind::Type => OuterSort::Type,
                ComponentOuterAliasKind::Component => OuterSort::Component,
            },
            count,
            index,
        },
    }
}

pub(super) fn sort(kind: ComponentExternalKind) -> Sort {
    match kind {
        ComponentExternalKind::Module => Sort::CoreModule,
        ComponentExternalKind::Func => Sort::Func,
        ComponentExternalKind::Value => Sort::Value,
        ComponentExternalKind::Type => Sort::Type,
        ComponentExternalKind::Instance => Sort::Instance,
        ComponentExternalKind::Component => Sort::Component,
    }
}

pub(super) fn core_sort(kind: ExternalKind) -> CoreSort {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => CoreSort::Func,
        ExternalKind::Table => CoreSort::Table,
        ExternalKind::Memory => CoreSort::Memory,
        ExternalKind::Global => CoreSort::Global,
        ExternalKind::Tag => CoreSort::Tag,
    }
}

pub(super) fn extern_type(ty: ComponentTypeRef) -> ExternTypeDef {
    match ty {
        ComponentTypeRef::Module(index) => ExternTypeDef::CoreModule(index),
        ComponentTypeRef::Func(index) => ExternTypeDef::Func(index),
        ComponentTypeRef::Value(ty) => ExternTypeDef::Value(val_type(ty)),
        ComponentTypeRef::Type(TypeBounds::Eq(index)) => ExternTypeDef::TypeEq(index),
        ComponentTypeRef::Type(TypeBounds::SubResource) => ExternTypeDef::SubResource,
        ComponentTypeRef::Component(index) => ExternTypeDef::Component(index),
        ComponentTypeRef::Instance(index) => ExternTypeDef::Instance(index),
    }
}

pub(super) fn val_type(ty: ComponentValType) -> ValTypeRef {
    match ty {
        ComponentValType::Primitive(ty) => ValTypeRef::Prim(prim(ty)),
        ComponentValType::Type(index) => ValTypeRef::Index(index),
    }
}

fn prim(ty: PrimitiveValType) -> Prim {
    match ty {
        PrimitiveValType::Bool => Prim::Bool,
        PrimitiveValType::S8 => Prim::S8,
        PrimitiveValType::U8 => Prim::U8,
        PrimitiveValType::S16 => Prim::S16,
        PrimitiveValType::U16 => Prim::U16,
        PrimitiveValType::S32 => Prim::S32,
        PrimitiveValType::U32 => Prim::U32,
        PrimitiveValType::S64 => Prim::S64,
        PrimitiveValType::U64 => Prim::U64,
        PrimitiveValType::F32 => Prim::F32,
        PrimitiveValType::F64 => Prim::F64,
        PrimitiveValType::Char => Prim::Char,
        PrimitiveValType::String => Prim::String,
        PrimitiveValType::ErrorContext => Prim::ErrorContext,
    }
}

fn func_type_def(ty: &ComponentFuncType<'_>) -> FuncTypeDef {
    FuncTypeDef {
        async_: ty.async_,
        params: fields(&ty.params),
        result: ty.result.map(val_type),
    }
}

fn val_type_def(ty: ComponentDefinedType<'_>) -> ValTypeDef {
    match ty {
        ComponentDefinedType::Primitive(ty) => ValTypeDef::Prim(prim(ty)),
        ComponentDefinedType::Record(of) => ValTypeDef::Record(fields(&of)),
        ComponentDefinedType::Variant(cases) => ValTypeDef::Variant(
            cases
                .iter()
                .map(|case| (case.name.into(), case.ty.map(val_type)))
                .collect(),
        ),
        ComponentDefinedType::List(of) => ValTypeDef::List(val_type(of)),
        ComponentDefinedType::FixedLengthList(of, length) => {
            ValTypeDef::FixedLengthList(val_type(of), length)
        }
        ComponentDefinedType::Map(key, value) => ValTypeDef::Map(val_type(key), val_type(value)),
        ComponentDefinedType::Tuple(of) => {
            ValTypeDef::Tuple(of.iter().copied().map(val_type).collect())
        }
        ComponentDefinedType::Flags(labels) => ValTypeDef::Flags(names(&labels)),
        ComponentDefinedType::Enum(labels) => ValTypeDef::Enum(names(&labels)),
        ComponentDefinedType::Option(of) => ValTypeDef::Option(val_type(of)),
        ComponentDefinedType::Result { ok, err } => ValTypeDef::Result {
            ok: ok.map(val_type),
            err: err.map(val_type),
        },
        ComponentDefinedType::Own(resource) => ValTypeDef::Own(resource),
        ComponentDefinedType::Borrow(resource) => ValTypeDef::Borrow(resource),
        ComponentDefinedType::Stream(of) => ValTypeDef::Stream(of.map(val_type)),
        ComponentDefinedType::Future(of) => ValTypeDef::Future(of.map(val_type)),
    }
}

fn fields(of: &[(&str, ComponentValType)]) -> Box<[(Name, ValTypeRef)]> {
    of.iter()
        .map(|&(label, ty)| (label.into(), val_type(ty)))
        .collect()
}

fn names(labels: &[&str]) -> Box<[Name]> {
    labels.iter().map(|&label| label.into()).collect()
}

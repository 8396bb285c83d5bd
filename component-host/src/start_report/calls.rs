//! Reads the call graph of one core module.

use super::unlike_the_component;
use crate::error::Result;
use std::collections::BTreeSet;
use wasmparser::{
    CompositeInnerType, ElementItems, ExternalKind, FuncType, Operator, Parser, Payload, TypeRef,
};

/// The functions of a core module and whom they call.
#[derive(Debug, Default)]
pub(super) struct ModuleCalls {
    types: Vec<Option<FuncType>>,
    /// The type of each function, imported ones first.
    func_types: Vec<u32>,
    pub(super) imported: u32,
    bodies: Vec<Body>,
    /// The functions whose address is taken, or that are exported.
    pub(super) address_taken: BTreeSet<u32>,
}

/// Whom one function calls.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) direct: BTreeSet<u32>,
    /// The types of its indirect calls.
    pub(super) indirect: BTreeSet<u32>,
}

impl ModuleCalls {
    pub(super) fn read(module: &[u8]) -> Result<ModuleCalls> {
        let mut calls = ModuleCalls::default();
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload.map_err(|_| unlike_the_component())?;
            // All of it was validated when the component was made.
            if calls.payload(payload).is_none() {
                return Err(unlike_the_component());
            }
        }
        Ok(calls)
    }

    fn payload(&mut self, payload: Payload<'_>) -> Option<()> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section {
                    for ty in group.ok()?.into_types() {
                        self.types.push(match ty.composite_type.inner {
                            CompositeInnerType::Func(ty) => Some(ty),
                            _ => None,
                        });
                    }
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    if let TypeRef::Func(ty) | TypeRef::FuncExact(ty) = import.ok()?.ty {
                        self.func_types.push(ty);
                        self.imported += 1;
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    self.func_types.push(ty.ok()?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.ok()?;
                    if export.kind == ExternalKind::Func {
                        // Somebody else may put it into a table.
                        self.address_taken.insert(export.index);
                    }
                }
            }
            Payload::ElementSection(section) => {
                for element in section {
                    match element.ok()?.items {
                        ElementItems::Functions(funcs) => {
                            for func in funcs {
                                self.address_taken.insert(func.ok()?);
                            }
                        }
                        ElementItems::Expressions(_, exprs) => {
                            for expr in exprs {
                                self.constant(expr.ok()?.get_operators_reader())?;
                            }
                        }
                    }
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    self.constant(global.ok()?.init_expr.get_operators_reader())?;
                }
            }
            Payload::CodeSectionEntry(body) => {
                let mut calls = Body::default();
                for operator in body.get_operators_reader().ok()? {
                    match operator.ok()? {
                        Operator::Call { function_index }
                        | Operator::ReturnCall { function_index } => {
                            calls.direct.insert(function_index);
                        }
                        Operator::CallIndirect { type_index, .. }
                        | Operator::ReturnCallIndirect { type_index, .. } => {
                            calls.indirect.insert(type_index);
                        }
                        Operator::RefFunc { function_index } => {
                            self.address_taken.insert(function_index);
                        }
                        _ => {}
                    }
                }
                self.bodies.push(calls);
            }
            _ => {}
        }
        Some(())
    }

    fn constant(&mut self, operators: wasmparser::OperatorsReader<'_>) -> Option<()> {
        for operator in operators {
            if let Operator::RefFunc { function_index } = operator.ok()? {
                self.address_taken.insert(function_index);
            }
        }
        Some(())
    }

    /// Whom a function calls; nobody, when it is an import.
    pub(super) fn body(&self, func: u32) -> Option<&Body> {
        self.bodies.get(func.checked_sub(self.imported)? as usize)
    }

    pub(super) fn ty(&self, index: u32) -> Option<&FuncType> {
        self.types.get(index as usize)?.as_ref()
    }

    pub(super) fn func_type(&self, func: u32) -> Option<&FuncType> {
        self.ty(*self.func_types.get(func as usize)?)
    }
}

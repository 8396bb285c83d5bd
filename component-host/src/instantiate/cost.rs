//! What a definition costs the host when it is evaluated, so that one instantiation has an end.
//!
//! A component is small beside what it asks for: each of its instances evaluates every definition
//! anew, and a name or a type of a hundred kilobytes may be in the way of each. The costs are
//! estimates of the bytes that are kept, on the high side.

use super::Walk;
use crate::component::definitions::{
    CoreInstanceDef, Definition, InstanceDef, TypeDef, ValTypeDef,
};
use crate::error::{Error, Result};
use crate::limits::{MAX_INSTANTIATION_BYTES, MAX_PATH_BYTES};

/// An entry of an index space, or of a map of exports.
const ENTRY: u64 = 128;

/// A canonical definition: what it is bound to, and a host function of the engine.
const CANON: u64 = 512;

/// An instance, with its tables and its index spaces.
const INSTANCE: u64 = 2048;

/// What a definition costs by itself: without the module it instantiates, and without the
/// definitions of the component it instantiates, which are counted when they are evaluated.
fn cost(definition: &Definition) -> u64 {
    let entries = |count: usize| ENTRY.saturating_mul(count as u64 + 1);
    match definition {
        Definition::CoreInstance(CoreInstanceDef::Instantiate { args, .. }) => {
            INSTANCE + entries(args.len())
        }
        Definition::CoreInstance(CoreInstanceDef::FromExports(exports)) => entries(exports.len()),
        Definition::Instance(InstanceDef::Instantiate { args, .. }) => {
            INSTANCE + entries(args.len())
        }
        Definition::Instance(InstanceDef::FromExports(exports)) => entries(exports.len()),
        Definition::Type(TypeDef::Value(ty)) => entries(match ty {
            ValTypeDef::Record(fields) => fields.len(),
            ValTypeDef::Variant(cases) => cases.len(),
            ValTypeDef::Tuple(types) => types.len(),
            ValTypeDef::Flags(names) | ValTypeDef::Enum(names) => names.len(),
            _ => 1,
        }),
        Definition::Type(TypeDef::Func(ty)) => entries(ty.params.len() + 1),
        Definition::Canon(_) => CANON,
        _ => ENTRY,
    }
}

impl Walk<'_> {
    /// Counts a definition that is about to be evaluated.
    pub(super) fn charge_definition(&mut self, definition: &Definition) -> Result<()> {
        self.charge(cost(definition))
    }

    /// Counts what the host is about to keep for the component, in bytes.
    pub(super) fn charge(&mut self, bytes: u64) -> Result<()> {
        match self.bytes_left.checked_sub(bytes) {
            Some(left) => {
                self.bytes_left = left;
                Ok(())
            }
            None => Err(Error::limit(
                "instantiation_bytes",
                MAX_INSTANTIATION_BYTES,
                "bytes for the definitions of one instantiation",
                "the component has too many definitions, or instantiates others too often",
            )),
        }
    }

    /// The length of the path of an instance that is about to be made.
    pub(super) fn path_length(&self, name: &str) -> Result<usize> {
        let outer = self.scopes.last().map_or(0, |scope| scope.path_length);
        let length = outer.saturating_add(name.len());
        if length <= MAX_PATH_BYTES {
            return Ok(length);
        }
        Err(Error::limit(
            "instance_path",
            MAX_PATH_BYTES as u64,
            "bytes for the names of an instance and of those around it",
            "give the nested components shorter names",
        ))
    }
}

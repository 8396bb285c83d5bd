//! Reads and prints values as WAVE, the component model's text for values.
//!
//! Resources, streams, futures and error contexts have no text that could be read back; they are
//! printed in angle brackets, as `<own 3>`, and cannot be read.

use crate::error::{Error, Result};
use crate::types::{Name, Type};
use crate::val::{ResourceAny, Val};
use std::borrow::Cow;
use std::fmt;
use wasm_wave::wasm::{WasmType, WasmTypeKind, WasmValue, WasmValueError};

impl Val {
    /// Reads a value of the given type from WAVE text.
    ///
    /// # Errors
    /// An error of kind `Type` when the text is not that of such a value.
    pub fn from_wave(ty: &Type, text: &str) -> Result<Val> {
        wasm_wave::from_str(ty, text).map_err(|error| Error::ty(format!("`{text}`: {error}")))
    }
}

impl fmt::Display for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = wasm_wave::writer::Writer::new(f);
        writer.write_value(self).map_err(|_| fmt::Error)
    }
}

impl WasmType for Type {
    fn kind(&self) -> WasmTypeKind {
        match self {
            Type::Bool => WasmTypeKind::Bool,
            Type::S8 => WasmTypeKind::S8,
            Type::U8 => WasmTypeKind::U8,
            Type::S16 => WasmTypeKind::S16,
            Type::U16 => WasmTypeKind::U16,
            Type::S32 => WasmTypeKind::S32,
            Type::U32 => WasmTypeKind::U32,
            Type::S64 => WasmTypeKind::S64,
            Type::U64 => WasmTypeKind::U64,
            Type::Float32 => WasmTypeKind::F32,
            Type::Float64 => WasmTypeKind::F64,
            Type::Char => WasmTypeKind::Char,
            Type::String => WasmTypeKind::String,
            // The reader knows no fixed-length lists; `make_list` checks the length.
            Type::List(_) | Type::FixedLengthList(_) => WasmTypeKind::List,
            Type::Map(_) => WasmTypeKind::Map,
            Type::Record(_) => WasmTypeKind::Record,
            Type::Tuple(_) => WasmTypeKind::Tuple,
            Type::Variant(_) => WasmTypeKind::Variant,
            Type::Enum(_) => WasmTypeKind::Enum,
            Type::Option(_) => WasmTypeKind::Option,
            Type::Result(_) => WasmTypeKind::Result,
            Type::Flags(_) => WasmTypeKind::Flags,
            Type::ErrorContext
            | Type::Own(_)
            | Type::Borrow(_)
            | Type::Stream(_)
            | Type::Future(_) => WasmTypeKind::Unsupported,
        }
    }

    fn list_element_type(&self) -> Option<Type> {
        match self {
            Type::List(list) => Some(list.ty().clone()),
            Type::FixedLengthList(list) => Some(list.ty().clone()),
            _ => None,
        }
    }

    fn record_fields(&self) -> Box<dyn Iterator<Item = (Cow<'_, str>, Type)> + '_> {
        let Type::Record(record) = self else {
            return Box::new(std::iter::empty());
        };
        let fields = record.fields();
        Box::new(fields.map(|(name, ty)| (Cow::from(name), ty.clone())))
    }

    fn tuple_element_types(&self) -> Box<dyn Iterator<Item = Type> + '_> {
        let Type::Tuple(tuple) = self else {
            return Box::new(std::iter::empty());
        };
        Box::new(tuple.types().iter().cloned())
    }

    fn variant_cases(&self) -> Box<dyn Iterator<Item = (Cow<'_, str>, Option<Type>)> + '_> {
        let Type::Variant(variant) = self else {
            return Box::new(std::iter::empty());
        };
        let cases = variant.cases();
        Box::new(cases.map(|(name, ty)| (Cow::from(name), ty.cloned())))
    }

    fn enum_cases(&self) -> Box<dyn Iterator<Item = Cow<'_, str>> + '_> {
        let Type::Enum(enum_) = self else {
            return Box::new(std::iter::empty());
        };
        Box::new(enum_.names().map(Cow::from))
    }

    fn option_some_type(&self) -> Option<Type> {
        match self {
            Type::Option(option) => Some(option.ty().clone()),
            _ => None,
        }
    }

    fn result_types(&self) -> Option<(Option<Type>, Option<Type>)> {
        match self {
            Type::Result(result) => Some((result.ok().cloned(), result.err().cloned())),
            _ => None,
        }
    }

    fn flags_names(&self) -> Box<dyn Iterator<Item = Cow<'_, str>> + '_> {
        let Type::Flags(flags) = self else {
            return Box::new(std::iter::empty());
        };
        Box::new(flags.names().map(Cow::from))
    }

    fn map_key_value_types(&self) -> Option<(Type, Type)> {
        match self {
            Type::Map(map) => Some((map.key().clone(), map.value().clone())),
            _ => None,
        }
    }
}

/// The scalar values' way in and out.
macro_rules! scalars {
    ($($make:ident $unwrap:ident $case:ident $ty:ty;)*) => {$(
        fn $make(value: $ty) -> Val {
            Val::$case(value)
        }

        fn $unwrap(&self) -> $ty {
            match self {
                Val::$case(value) => *value,
                _ => wrong_kind(self, stringify!($unwrap)),
            }
        }
    )*};
}

/// The traits say that the `unwrap_*` methods panic on a value of another kind. No input leads
/// here: the writer asks for the kind first.
#[track_caller]
fn wrong_kind(value: &Val, method: &str) -> ! {
    panic!("{method} of a value of kind {}", value.kind())
}

fn checked(value: Val, ty: &Type) -> Result<Val, WasmValueError> {
    match value.type_check(ty) {
        Ok(()) => Ok(value),
        Err(message) => Err(WasmValueError::Other(message)),
    }
}

/// A value's name; the type's own where it has it, so that it is shared.
fn name_in<'a>(mut names: impl Iterator<Item = &'a Name>, name: &str) -> Name {
    let found = names.find(|found| ***found == *name);
    found.map_or_else(|| Name::from(name), Name::clone)
}

fn boxed(value: Option<Val>) -> Option<Box<Val>> {
    value.map(Box::new)
}

fn borrowed(value: &Option<Box<Val>>) -> Option<Cow<'_, Val>> {
    value.as_deref().map(Cow::Borrowed)
}

impl WasmValue for Val {
    type Type = Type;

    fn kind(&self) -> WasmTypeKind {
        match self {
            Val::Bool(_) => WasmTypeKind::Bool,
            Val::S8(_) => WasmTypeKind::S8,
            Val::U8(_) => WasmTypeKind::U8,
            Val::S16(_) => WasmTypeKind::S16,
            Val::U16(_) => WasmTypeKind::U16,
            Val::S32(_) => WasmTypeKind::S32,
            Val::U32(_) => WasmTypeKind::U32,
            Val::S64(_) => WasmTypeKind::S64,
            Val::U64(_) => WasmTypeKind::U64,
            Val::Float32(_) => WasmTypeKind::F32,
            Val::Float64(_) => WasmTypeKind::F64,
            Val::Char(_) => WasmTypeKind::Char,
            Val::String(_) => WasmTypeKind::String,
            Val::List(_) => WasmTypeKind::List,
            Val::Map(_) => WasmTypeKind::Map,
            Val::Record(_) => WasmTypeKind::Record,
            Val::Tuple(_) => WasmTypeKind::Tuple,
            Val::Variant(..) => WasmTypeKind::Variant,
            Val::Enum(_) => WasmTypeKind::Enum,
            Val::Option(_) => WasmTypeKind::Option,
            Val::Result(_) => WasmTypeKind::Result,
            Val::Flags(_) => WasmTypeKind::Flags,
            // The writer prints the name of an enum's case as it is: a way to print anything.
            Val::Resource(_) | Val::ErrorContext(_) | Val::Stream(_) | Val::Future(_) => {
                WasmTypeKind::Enum
            }
        }
    }

    scalars! {
        make_bool unwrap_bool Bool bool;
        make_s8 unwrap_s8 S8 i8;
        make_u8 unwrap_u8 U8 u8;
        make_s16 unwrap_s16 S16 i16;
        make_u16 unwrap_u16 U16 u16;
        make_s32 unwrap_s32 S32 i32;
        make_u32 unwrap_u32 U32 u32;
        make_s64 unwrap_s64 S64 i64;
        make_u64 unwrap_u64 U64 u64;
        make_f32 unwrap_f32 Float32 f32;
        make_f64 unwrap_f64 Float64 f64;
        make_char unwrap_char Char char;
    }

    fn make_string(value: Cow<'_, str>) -> Val {
        Val::String(value.into_owned().into())
    }

    fn make_list(ty: &Type, values: impl IntoIterator<Item = Val>) -> Result<Val, WasmValueError> {
        checked(Val::List(values.into_iter().collect()), ty)
    }

    fn make_record<'a>(
        ty: &Type,
        fields: impl IntoIterator<Item = (&'a str, Val)>,
    ) -> Result<Val, WasmValueError> {
        let names: &[(Name, Type)] = match ty {
            Type::Record(record) => record.named_fields(),
            _ => &[],
        };
        let fields = fields.into_iter();
        let fields =
            fields.map(|(name, value)| (name_in(names.iter().map(|(name, _)| name), name), value));
        checked(Val::Record(fields.collect()), ty)
    }

    fn make_tuple(ty: &Type, values: impl IntoIterator<Item = Val>) -> Result<Val, WasmValueError> {
        checked(Val::Tuple(values.into_iter().collect()), ty)
    }

    fn make_variant(ty: &Type, case: &str, payload: Option<Val>) -> Result<Val, WasmValueError> {
        let names: &[(Name, Option<Type>)] = match ty {
            Type::Variant(variant) => variant.named_cases(),
            _ => &[],
        };
        let name = name_in(names.iter().map(|(name, _)| name), case);
        checked(Val::Variant(name, boxed(payload)), ty)
    }

    fn make_enum(ty: &Type, case: &str) -> Result<Val, WasmValueError> {
        let names: &[Name] = match ty {
            Type::Enum(enum_) => enum_.shared_names(),
            _ => &[],
        };
        checked(Val::Enum(name_in(names.iter(), case)), ty)
    }

    fn make_option(ty: &Type, value: Option<Val>) -> Result<Val, WasmValueError> {
        checked(Val::Option(boxed(value)), ty)
    }

    fn make_result(
        ty: &Type,
        value: Result<Option<Val>, Option<Val>>,
    ) -> Result<Val, WasmValueError> {
        checked(Val::Result(value.map(boxed).map_err(boxed)), ty)
    }

    fn make_flags<'a>(
        ty: &Type,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Val, WasmValueError> {
        let known: &[Name] = match ty {
            Type::Flags(flags) => flags.shared_names(),
            _ => &[],
        };
        let names = names.into_iter().map(|name| name_in(known.iter(), name));
        checked(Val::Flags(names.collect()), ty)
    }

    fn make_map(
        ty: &Type,
        entries: impl IntoIterator<Item = (Val, Val)>,
    ) -> Result<Val, WasmValueError> {
        checked(Val::Map(entries.into_iter().collect()), ty)
    }

    fn unwrap_string(&self) -> Cow<'_, str> {
        match self {
            Val::String(text) => Cow::from(text.as_str()),
            _ => wrong_kind(self, "unwrap_string"),
        }
    }

    fn unwrap_list(&self) -> Box<dyn Iterator<Item = Cow<'_, Val>> + '_> {
        match self {
            Val::List(values) => Box::new(values.iter().map(Cow::Borrowed)),
            _ => wrong_kind(self, "unwrap_list"),
        }
    }

    fn unwrap_record(&self) -> Box<dyn Iterator<Item = (Cow<'_, str>, Cow<'_, Val>)> + '_> {
        let Val::Record(fields) = self else {
            wrong_kind(self, "unwrap_record")
        };
        let fields = fields.iter();
        Box::new(fields.map(|(name, value)| (Cow::from(&**name), Cow::Borrowed(value))))
    }

    fn unwrap_tuple(&self) -> Box<dyn Iterator<Item = Cow<'_, Val>> + '_> {
        match self {
            Val::Tuple(values) => Box::new(values.iter().map(Cow::Borrowed)),
            _ => wrong_kind(self, "unwrap_tuple"),
        }
    }

    fn unwrap_variant(&self) -> (Cow<'_, str>, Option<Cow<'_, Val>>) {
        match self {
            Val::Variant(name, payload) => (Cow::from(&**name), borrowed(payload)),
            _ => wrong_kind(self, "unwrap_variant"),
        }
    }

    fn unwrap_enum(&self) -> Cow<'_, str> {
        match self {
            Val::Enum(name) => Cow::from(&**name),
            Val::Resource(resource) => Cow::from(opaque_resource(resource)),
            Val::ErrorContext(context) => {
                Cow::from(format!("<error-context {}>", context.debug_message()))
            }
            Val::Stream(stream) => Cow::from(format!("<stream {}>", stream.id())),
            Val::Future(future) => Cow::from(format!("<future {}>", future.id())),
            _ => wrong_kind(self, "unwrap_enum"),
        }
    }

    fn unwrap_option(&self) -> Option<Cow<'_, Val>> {
        match self {
            Val::Option(value) => borrowed(value),
            _ => wrong_kind(self, "unwrap_option"),
        }
    }

    fn unwrap_result(&self) -> Result<Option<Cow<'_, Val>>, Option<Cow<'_, Val>>> {
        match self {
            Val::Result(value) => value.as_ref().map(borrowed).map_err(borrowed),
            _ => wrong_kind(self, "unwrap_result"),
        }
    }

    fn unwrap_flags(&self) -> Box<dyn Iterator<Item = Cow<'_, str>> + '_> {
        match self {
            Val::Flags(names) => Box::new(names.iter().map(|name| Cow::from(&**name))),
            _ => wrong_kind(self, "unwrap_flags"),
        }
    }

    fn unwrap_map(&self) -> Box<dyn Iterator<Item = (Cow<'_, Val>, Cow<'_, Val>)> + '_> {
        let Val::Map(entries) = self else {
            wrong_kind(self, "unwrap_map")
        };
        let entries = entries.iter();
        Box::new(entries.map(|(key, value)| (Cow::Borrowed(key), Cow::Borrowed(value))))
    }
}

fn opaque_resource(resource: &ResourceAny) -> String {
    let kind = if resource.owned() { "own" } else { "borrow" };
    format!("<{kind} {}>", resource.rep())
}

#[cfg(test)]
mod tests;

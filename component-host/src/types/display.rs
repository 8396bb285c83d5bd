//! Prints types the way WIT writes them; it stops, with `..`, at a thousand parts.
//!
//! A type that shares its parts is as a tree exponentially larger than it is in memory.

use super::{
    Enum, FixedLengthList, Flags, FuncType, List, Map, OptionType, Record, ResultType, Tuple, Type,
    ValueTypes, Variant,
};
use std::fmt::{self, Display, Formatter};

/// How many parts of a type are printed.
const MAX_PARTS: u32 = 1_000;

struct Printer<'a, 'b> {
    f: &'a mut Formatter<'b>,
    left: u32,
}

impl Printer<'_, '_> {
    fn ty(&mut self, ty: &Type) -> fmt::Result {
        if self.left == 0 {
            return self.f.write_str("..");
        }
        self.left -= 1;
        match ty {
            Type::List(list) => self.generic("list", [&list.ty]),
            Type::FixedLengthList(list) => {
                self.f.write_str("list<")?;
                self.ty(&list.ty)?;
                write!(self.f, ", {}>", list.length)
            }
            Type::Map(map) => self.generic("map", [&map.key, &map.value]),
            Type::Record(record) => {
                let fields = record.fields.iter();
                self.braces(
                    "record",
                    fields.map(|(name, ty)| (&**name, Some(ty), [": ", ""])),
                )
            }
            Type::Tuple(tuple) => self.generic("tuple", &tuple.types),
            Type::Variant(variant) => {
                let cases = variant.cases.iter();
                self.braces(
                    "variant",
                    cases.map(|(name, ty)| (&**name, ty.as_ref(), ["(", ")"])),
                )
            }
            Type::Enum(enum_) => self.names("enum", enum_.names()),
            Type::Option(option) => self.generic("option", [&option.ty]),
            Type::Result(result) => match (&result.ok, &result.err) {
                (None, None) => self.f.write_str("result"),
                (Some(ok), None) => self.generic("result", [ok]),
                (Some(ok), Some(err)) => self.generic("result", [ok, err]),
                (None, Some(err)) => {
                    self.f.write_str("result<_, ")?;
                    self.ty(err)?;
                    self.f.write_str(">")
                }
            },
            Type::Flags(flags) => self.names("flags", flags.names()),
            Type::Own(rt) => write!(self.f, "own<resource {rt}>"),
            Type::Borrow(rt) => write!(self.f, "borrow<resource {rt}>"),
            Type::Stream(None) => self.f.write_str("stream"),
            Type::Stream(Some(ty)) => self.generic("stream", [&**ty]),
            Type::Future(None) => self.f.write_str("future"),
            Type::Future(Some(ty)) => self.generic("future", [&**ty]),
            _ => self.f.write_str(ty.kind()),
        }
    }

    fn generic<'t>(&mut self, name: &str, args: impl IntoIterator<Item = &'t Type>) -> fmt::Result {
        write!(self.f, "{name}<")?;
        for (i, arg) in args.into_iter().enumerate() {
            self.comma(i)?;
            if self.left == 0 {
                self.f.write_str("..")?;
                break;
            }
            self.ty(arg)?;
        }
        self.f.write_str(">")
    }

    fn names<'t>(&mut self, name: &str, names: impl Iterator<Item = &'t str>) -> fmt::Result {
        self.braces(name, names.map(|name| (name, None, ["", ""])))
    }

    fn braces<'t>(
        &mut self,
        name: &str,
        parts: impl Iterator<Item = (&'t str, Option<&'t Type>, [&'t str; 2])>,
    ) -> fmt::Result {
        write!(self.f, "{name} {{ ")?;
        for (i, (name, ty, [open, close])) in parts.enumerate() {
            self.comma(i)?;
            if self.left == 0 {
                self.f.write_str("..")?;
                break;
            }
            self.left -= 1;
            self.f.write_str(name)?;
            if let Some(ty) = ty {
                self.f.write_str(open)?;
                self.ty(ty)?;
                self.f.write_str(close)?;
            }
        }
        self.f.write_str(" }")
    }

    fn comma(&mut self, index: usize) -> fmt::Result {
        self.f.write_str(if index == 0 { "" } else { ", " })
    }
}

impl Type {
    /// The word for the kind of this type.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Type::Bool => "bool",
            Type::S8 => "s8",
            Type::U8 => "u8",
            Type::S16 => "s16",
            Type::U16 => "u16",
            Type::S32 => "s32",
            Type::U32 => "u32",
            Type::S64 => "s64",
            Type::U64 => "u64",
            Type::Float32 => "f32",
            Type::Float64 => "f64",
            Type::Char => "char",
            Type::String => "string",
            Type::ErrorContext => "error-context",
            Type::List(_) | Type::FixedLengthList(_) => "list",
            Type::Map(_) => "map",
            Type::Record(_) => "record",
            Type::Tuple(_) => "tuple",
            Type::Variant(_) => "variant",
            Type::Enum(_) => "enum",
            Type::Option(_) => "option",
            Type::Result(_) => "result",
            Type::Flags(_) => "flags",
            Type::Own(_) => "own",
            Type::Borrow(_) => "borrow",
            Type::Stream(_) => "stream",
            Type::Future(_) => "future",
        }
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Printer { f, left: MAX_PARTS }.ty(self)
    }
}

impl Display for FuncType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.async_ { "async func(" } else { "func(" })?;
        let mut printer = Printer { f, left: MAX_PARTS };
        for (i, (name, ty)) in self.params().enumerate() {
            printer.comma(i)?;
            write!(printer.f, "{name}: ")?;
            printer.ty(ty)?;
        }
        printer.f.write_str(")")?;
        if let Some(result) = self.result() {
            printer.f.write_str(" -> ")?;
            printer.ty(result)?;
        }
        Ok(())
    }
}

// `Debug` prints what `Display` prints: the layouts would drown it.
impl fmt::Debug for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl fmt::Debug for FuncType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl fmt::Debug for ValueTypes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.types).finish()
    }
}

macro_rules! debug_by_parts {
    ($($name:ident { $($part:ident)* })*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($part), &self.$part))*
                    .finish()
            }
        }
    )*};
}

debug_by_parts! {
    List { ty }
    FixedLengthList { ty length }
    Map { key value }
    Record { fields }
    Tuple { types }
    Variant { cases }
    Enum { names }
    OptionType { ty }
    ResultType { ok err }
    Flags { names }
}

//! Numbers, strings, handles, and [`Val`], which stands for any type.

use super::{ComponentType, Lift, Lower, Mismatch};
use crate::abi::loading::{canonicalize_nan32, canonicalize_nan64};
use crate::error::{Error, Result, bug};
use crate::resource::Resource;
use crate::transit::{Arrivals, Transit};
use crate::types::{ResourceType, Type};
use crate::val::{
    ErrorContextAny, FutureAny, ResourceAny, StreamAny, Text, Val, receive_val, send_val,
};

macro_rules! component_type {
    ([$($generics:tt)*] $rust:ty, $pattern:pat, $wit:expr) => {
        impl<$($generics)*> ComponentType for $rust {
            fn typecheck(ty: &Type) -> Result<(), Mismatch> {
                match ty {
                    $pattern => Ok(()),
                    _ => Err(Mismatch::expected($wit, ty)),
                }
            }

            fn describe() -> String {
                $wit.to_owned()
            }
        }
    };
}

macro_rules! numbers {
    ($($rust:ident $case:ident $wit:literal |$v:ident| $bits:expr, |$word:ident| $back:expr;)*) => {$(
        component_type!([] $rust, Type::$case, $wit);

        impl Lower for $rust {
            fn lower(self, _ty: &Type, to: &mut Transit) -> Result<()> {
                let $v = self;
                to.word($bits);
                Ok(())
            }

            fn lower_list(list: Vec<$rust>, _element: &Type, to: &mut Transit) -> Result<()> {
                to.bytes($rust::into_le_list(list));
                Ok(())
            }
        }

        impl Lift for $rust {
            fn lift(_ty: &Type, from: &mut Arrivals) -> Result<$rust> {
                let $word = from.word()?;
                Ok($back)
            }

            fn lift_list(_element: &Type, from: &mut Arrivals) -> Result<Vec<$rust>> {
                from.bytes().map($rust::from_le_list)
            }
        }
    )*};
}

numbers! {
    u8 U8 "u8" |v| u64::from(v), |word| word as u8;
    i8 S8 "s8" |v| u64::from(v as u8), |word| word as i8;
    u16 U16 "u16" |v| u64::from(v), |word| word as u16;
    i16 S16 "s16" |v| u64::from(v as u16), |word| word as i16;
    u32 U32 "u32" |v| u64::from(v), |word| word as u32;
    i32 S32 "s32" |v| u64::from(v as u32), |word| word as i32;
    u64 U64 "u64" |v| v, |word| word;
    i64 S64 "s64" |v| v as u64, |word| word as i64;
    f32 Float32 "f32" |v| u64::from(canonicalize_nan32(v).to_bits()), |word| f32::from_bits(word as u32);
    f64 Float64 "f64" |v| canonicalize_nan64(v).to_bits(), |word| f64::from_bits(word);
}

/// Lists of numbers as bytes, little-endian.
trait Bytes: Sized {
    fn into_le_list(list: Vec<Self>) -> Vec<u8>;
    fn from_le_list(bytes: Vec<u8>) -> Vec<Self>;
}

impl Bytes for u8 {
    fn into_le_list(list: Vec<u8>) -> Vec<u8> {
        list
    }

    fn from_le_list(bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }
}

macro_rules! bytes {
    ($($rust:ident |$v:ident| $canonical:expr;)*) => {$(
        impl Bytes for $rust {
            fn into_le_list(list: Vec<$rust>) -> Vec<u8> {
                let mut bytes = vec![0; list.len() * size_of::<$rust>()];
                let (slots, _) = bytes.as_chunks_mut();
                for (slot, $v) in slots.iter_mut().zip(list) {
                    *slot = $canonical.to_le_bytes();
                }
                bytes
            }

            fn from_le_list(bytes: Vec<u8>) -> Vec<$rust> {
                let (numbers, _) = bytes.as_chunks();
                numbers.iter().map(|bytes| $rust::from_le_bytes(*bytes)).collect()
            }
        }
    )*};
}

bytes! {
    i8 |v| v;
    u16 |v| v;
    i16 |v| v;
    u32 |v| v;
    i32 |v| v;
    u64 |v| v;
    i64 |v| v;
    f32 |v| canonicalize_nan32(v);
    f64 |v| canonicalize_nan64(v);
}

component_type!([] bool, Type::Bool, "bool");

impl Lower for bool {
    fn lower(self, _ty: &Type, to: &mut Transit) -> Result<()> {
        to.word(u64::from(self));
        Ok(())
    }
}

impl Lift for bool {
    fn lift(_ty: &Type, from: &mut Arrivals) -> Result<bool> {
        from.word().map(|word| word != 0)
    }
}

component_type!([] char, Type::Char, "char");

impl Lower for char {
    fn lower(self, _ty: &Type, to: &mut Transit) -> Result<()> {
        to.word(u64::from(self));
        Ok(())
    }
}

impl Lift for char {
    fn lift(_ty: &Type, from: &mut Arrivals) -> Result<char> {
        let word = from.word()?;
        let c = u32::try_from(word).ok().and_then(char::from_u32);
        c.ok_or_else(|| bug!("{word:#x} was let through as a char"))
    }
}

macro_rules! strings {
    ([$($generics:tt)*] $rust:ty) => {
        component_type!([$($generics)*] $rust, Type::String, "string");

        impl<$($generics)*> Lower for $rust {
            fn lower(self, _ty: &Type, to: &mut Transit) -> Result<()> {
                to.text(String::from(self).into());
                Ok(())
            }
        }
    };
}

strings!([] String);
strings!([] Box<str>);
strings!(['a] &'a str);
component_type!([] Text, Type::String, "string");

impl Lower for Text {
    fn lower(self, _ty: &Type, to: &mut Transit) -> Result<()> {
        to.text(self);
        Ok(())
    }
}

impl Lift for String {
    fn lift(_ty: &Type, from: &mut Arrivals) -> Result<String> {
        from.text().map(Text::into_string)
    }
}

impl Lift for Box<str> {
    fn lift(_ty: &Type, from: &mut Arrivals) -> Result<Box<str>> {
        from.text().map(|text| text.into_string().into())
    }
}

impl Lift for Text {
    fn lift(_ty: &Type, from: &mut Arrivals) -> Result<Text> {
        from.text()
    }
}

impl ComponentType for Val {
    fn typecheck(_ty: &Type) -> Result<(), Mismatch> {
        Ok(())
    }

    fn describe() -> String {
        "any type".to_owned()
    }
}

impl Lower for Val {
    fn lower(self, ty: &Type, to: &mut Transit) -> Result<()> {
        send_val(&self, ty, to)
    }

    fn lower_list(list: Vec<Val>, element: &Type, to: &mut Transit) -> Result<()> {
        // Numbers among the values go as bytes, which only the list as a whole can tell.
        send_val(&Val::List(list), &Type::list(element.clone()), to)
    }
}

impl Lift for Val {
    fn lift(ty: &Type, from: &mut Arrivals) -> Result<Val> {
        receive_val(from, ty)
    }

    fn lift_list(element: &Type, from: &mut Arrivals) -> Result<Vec<Val>> {
        match receive_val(from, &Type::list(element.clone()))? {
            Val::List(list) => Ok(list),
            other => Err(bug!("a list arrived as {}", other.kind())),
        }
    }
}

component_type!([] ResourceAny, Type::Own(_) | Type::Borrow(_), "a resource");

impl Lower for ResourceAny {
    fn lower(self, ty: &Type, to: &mut Transit) -> Result<()> {
        match ty {
            Type::Own(rt) if self.ty() == *rt && self.owned() => {
                to.handle(Val::Resource(self), ty);
            }
            Type::Borrow(rt) if self.ty() == *rt => to.handle(Val::Resource(self), ty),
            _ => {
                return Err(Error::resource(format!(
                    "expected {ty}, found {}",
                    self.handle_type()
                )));
            }
        }
        Ok(())
    }
}

impl Lift for ResourceAny {
    fn lift(_ty: &Type, from: &mut Arrivals) -> Result<ResourceAny> {
        match from.handle()? {
            Val::Resource(resource) => Ok(resource),
            other => Err(bug!("a resource arrived as {}", other.kind())),
        }
    }
}

impl<T: 'static> ComponentType for Resource<T> {
    fn typecheck(ty: &Type) -> Result<(), Mismatch> {
        match ty {
            Type::Own(rt) | Type::Borrow(rt) if *rt == ResourceType::host::<T>() => Ok(()),
            _ => Err(Mismatch::expected(Self::describe(), ty)),
        }
    }

    fn describe() -> String {
        format!(
            "a resource of the host's type {}",
            std::any::type_name::<T>()
        )
    }
}

impl<T: 'static> Lower for Resource<T> {
    fn lower(self, ty: &Type, to: &mut Transit) -> Result<()> {
        match ty {
            Type::Own(rt) if self.owned() => {
                to.handle(Val::Resource(ResourceAny::own(*rt, self.rep())), ty);
                Ok(())
            }
            Type::Borrow(rt) => {
                to.handle(Val::Resource(ResourceAny::borrow(*rt, self.rep())), ty);
                Ok(())
            }
            _ => Err(Error::resource(format!(
                "expected {ty}, found {self:?}, which is only borrowed"
            ))),
        }
    }
}

impl<T: 'static> Lift for Resource<T> {
    fn lift(ty: &Type, from: &mut Arrivals) -> Result<Resource<T>> {
        let resource = ResourceAny::lift(ty, from)?;
        Ok(match resource.owned() {
            true => Resource::new_own(resource.rep()),
            false => Resource::new_borrow(resource.rep()),
        })
    }
}

macro_rules! handles {
    ($($rust:ident $case:ident $pattern:pat, $wit:literal;)*) => {$(
        component_type!([] $rust, $pattern, $wit);

        impl Lower for $rust {
            fn lower(self, ty: &Type, to: &mut Transit) -> Result<()> {
                to.handle(Val::$case(self), ty);
                Ok(())
            }
        }

        impl Lift for $rust {
            fn lift(_ty: &Type, from: &mut Arrivals) -> Result<$rust> {
                match from.handle()? {
                    Val::$case(handle) => Ok(handle),
                    other => Err(bug!("{} arrived in place of {}", other.kind(), $wit)),
                }
            }
        }
    )*};
}

handles! {
    StreamAny Stream Type::Stream(_), "a stream";
    FutureAny Future Type::Future(_), "a future";
    ErrorContextAny ErrorContext Type::ErrorContext, "error-context";
}

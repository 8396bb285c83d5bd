//! Component-level values, as the embedder sees them.

mod transit;
mod type_check;

pub(crate) use transit::{
    receive, receive_list, receive_val, send, send_into, send_list, send_val,
};
pub(crate) use type_check::field;

use crate::abi::host_resources::HostHandleId;
use crate::store::StoreId;
use crate::types::{Name, ResourceType, Type};
use std::fmt;
use std::ops::Deref;

/// A component-level value.
///
/// Two values are equal when a guest could not tell them apart: floats are compared bit for bit
/// (a NaN equals itself, and `0.0` is not `-0.0`), flags as sets, strings by their characters.
/// Fields of a record and entries of a map are compared in order.
///
/// `Display` prints WAVE, the component model's text for values.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Val {
    /// `bool`
    Bool(bool),
    /// `s8`
    S8(i8),
    /// `u8`
    U8(u8),
    /// `s16`
    S16(i16),
    /// `u16`
    U16(u16),
    /// `s32`
    S32(i32),
    /// `u32`
    U32(u32),
    /// `s64`
    S64(i64),
    /// `u64`
    U64(u64),
    /// `f32`
    Float32(f32),
    /// `f64`
    Float64(f64),
    /// `char`
    Char(char),
    /// `string`
    String(Text),
    /// `list<T>` and `list<T, N>`
    List(Vec<Val>),
    /// `map<K, V>`
    Map(Vec<(Val, Val)>),
    /// A record. Its fields may be given in any order; they come in the type's.
    Record(Vec<(Name, Val)>),
    /// A tuple.
    Tuple(Vec<Val>),
    /// A variant: the case's name, and its payload.
    Variant(Name, Option<Box<Val>>),
    /// An enum: the case's name.
    Enum(Name),
    /// `option<T>`
    Option(Option<Box<Val>>),
    /// `result<T, E>`
    Result(Result<Option<Box<Val>>, Option<Box<Val>>>),
    /// The names of the flags that are set.
    Flags(Vec<Name>),
    /// `own<R>` or `borrow<R>`
    Resource(ResourceAny),
    /// `error-context`
    ErrorContext(ErrorContextAny),
    /// `stream<T>`: its readable end
    Stream(StreamAny),
    /// `future<T>`: its readable end
    Future(FutureAny),
}

/// A string, and the encoding it had in the guest that it came from.
///
/// The encoding has no part in what the string is; it decides how much memory a guest is asked
/// for when the string is passed on.
#[derive(Clone)]
pub struct Text {
    content: String,
    /// How many code units it had, unless it was UTF-8. A string that a guest has fits.
    code_units: u32,
    source: SourceEncoding,
}

/// The spec's `src_simple_encoding`, with what `latin1+utf16` chose kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceEncoding {
    Utf8,
    Utf16,
    /// `latin1+utf16`, without the tag.
    Latin1,
    /// `latin1+utf16`, with the tag.
    TaggedUtf16,
}

/// A resource of any type: a representation, and whether it is owned.
///
/// A resource that a *guest* implements is a handle which the store keeps count of, although this
/// value can be copied: once the resource was given away or [dropped](ResourceAny::resource_drop),
/// every copy is refused. One that the host got as a `borrow` may be used until the call that
/// lent it returns. A resource that the *embedder* implements is no more than its representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResourceAny {
    ty: ResourceType,
    rep: u32,
    owned: bool,
    /// The entry of the store's table, when the host got it from a guest.
    handle: Option<HostHandleId>,
}

/// How the host came by a resource.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held {
    /// It made it; or the value is on its way from one guest to another.
    Free,
    /// A guest gave it: an entry of the store's table.
    Own(HostHandleId),
    /// A guest lent it, for the time of a call: an entry of the store's table.
    Borrow(HostHandleId),
}

/// The readable end of a stream, by its identity in its store.
///
/// The host passes it on to a guest, or [closes](StreamAny::close) it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamAny(Option<StoreId>, u64);

/// The readable end of a future, by its identity in its store.
///
/// The host passes it on to a guest, or [closes](FutureAny::close) it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FutureAny(Option<StoreId>, u64);

/// An error context: a message for people, passed on between components.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorContextAny(std::sync::Arc<str>);

impl ErrorContextAny {
    /// Makes an error context.
    pub fn new(debug_message: impl Into<std::sync::Arc<str>>) -> ErrorContextAny {
        ErrorContextAny(debug_message.into())
    }

    /// Its message, as `error-context.debug-message` returns it.
    pub fn debug_message(&self) -> &str {
        &self.0
    }
}

impl Val {
    /// The word for the kind of this value, as in its type.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Val::Bool(_) => "bool",
            Val::S8(_) => "s8",
            Val::U8(_) => "u8",
            Val::S16(_) => "s16",
            Val::U16(_) => "u16",
            Val::S32(_) => "s32",
            Val::U32(_) => "u32",
            Val::S64(_) => "s64",
            Val::U64(_) => "u64",
            Val::Float32(_) => "f32",
            Val::Float64(_) => "f64",
            Val::Char(_) => "char",
            Val::String(_) => "string",
            Val::List(_) => "list",
            Val::Map(_) => "map",
            Val::Record(_) => "record",
            Val::Tuple(_) => "tuple",
            Val::Variant(..) => "variant",
            Val::Enum(_) => "enum",
            Val::Option(_) => "option",
            Val::Result(_) => "result",
            Val::Flags(_) => "flags",
            Val::Resource(resource) if resource.owned => "own",
            Val::Resource(_) => "borrow",
            Val::ErrorContext(_) => "error-context",
            Val::Stream(_) => "stream",
            Val::Future(_) => "future",
        }
    }
}

impl PartialEq for Val {
    fn eq(&self, other: &Val) -> bool {
        match (self, other) {
            (Val::Bool(a), Val::Bool(b)) => a == b,
            (Val::S8(a), Val::S8(b)) => a == b,
            (Val::U8(a), Val::U8(b)) => a == b,
            (Val::S16(a), Val::S16(b)) => a == b,
            (Val::U16(a), Val::U16(b)) => a == b,
            (Val::S32(a), Val::S32(b)) => a == b,
            (Val::U32(a), Val::U32(b)) => a == b,
            (Val::S64(a), Val::S64(b)) => a == b,
            (Val::U64(a), Val::U64(b)) => a == b,
            (Val::Float32(a), Val::Float32(b)) => a.to_bits() == b.to_bits(),
            (Val::Float64(a), Val::Float64(b)) => a.to_bits() == b.to_bits(),
            (Val::Char(a), Val::Char(b)) => a == b,
            (Val::String(a), Val::String(b)) => a == b,
            (Val::List(a), Val::List(b)) | (Val::Tuple(a), Val::Tuple(b)) => a == b,
            (Val::Map(a), Val::Map(b)) => a == b,
            (Val::Record(a), Val::Record(b)) => a == b,
            (Val::Variant(a, x), Val::Variant(b, y)) => a == b && x == y,
            (Val::Enum(a), Val::Enum(b)) => a == b,
            (Val::Option(a), Val::Option(b)) => a == b,
            (Val::Result(a), Val::Result(b)) => a == b,
            (Val::Flags(a), Val::Flags(b)) => {
                a.iter().all(|name| b.contains(name)) && b.iter().all(|name| a.contains(name))
            }
            (Val::Resource(a), Val::Resource(b)) => a == b,
            (Val::ErrorContext(a), Val::ErrorContext(b)) => a == b,
            (Val::Stream(a), Val::Stream(b)) => a == b,
            (Val::Future(a), Val::Future(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Val {}

impl Text {
    /// A string that was decoded from so many code units.
    pub(crate) fn decoded(content: String, source: SourceEncoding, code_units: u64) -> Text {
        Text {
            content,
            code_units: code_units as u32,
            source,
        }
    }

    /// A string as if it had come in this encoding.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn new(content: String, source: SourceEncoding) -> Text {
        let code_units = match source {
            SourceEncoding::Utf8 | SourceEncoding::Latin1 => content.chars().count(),
            SourceEncoding::Utf16 | SourceEncoding::TaggedUtf16 => content.encode_utf16().count(),
        };
        Text::decoded(content, source, code_units as u64)
    }

    /// The number of code units that the string had in the encoding it came in.
    pub(crate) fn source_code_units(&self) -> u64 {
        match self.source {
            SourceEncoding::Utf8 => self.content.len() as u64,
            _ => u64::from(self.code_units),
        }
    }

    pub(crate) fn source(&self) -> SourceEncoding {
        self.source
    }

    /// The string's characters.
    pub fn as_str(&self) -> &str {
        &self.content
    }

    /// The string without its source's encoding.
    pub fn into_string(self) -> String {
        self.content
    }
}

impl From<&str> for Text {
    fn from(content: &str) -> Text {
        Text::from(content.to_owned())
    }
}

impl From<String> for Text {
    fn from(content: String) -> Text {
        Text::decoded(content, SourceEncoding::Utf8, 0)
    }
}

impl From<Text> for String {
    fn from(text: Text) -> String {
        text.content
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.content
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.content
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        self.content == other.content
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.content == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.content == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.content, f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.content, f)
    }
}

impl ResourceAny {
    /// An `own` of a type that the embedder implements; it may stand for anything, such as an
    /// index into a table of the embedder's.
    pub fn own(ty: ResourceType, rep: u32) -> ResourceAny {
        ResourceAny::new(ty, rep, true, None)
    }

    /// A `borrow` of a type that the embedder implements.
    pub fn borrow(ty: ResourceType, rep: u32) -> ResourceAny {
        ResourceAny::new(ty, rep, false, None)
    }

    pub(crate) fn new(
        ty: ResourceType,
        rep: u32,
        owned: bool,
        handle: Option<HostHandleId>,
    ) -> ResourceAny {
        ResourceAny {
            ty,
            rep,
            owned,
            handle,
        }
    }

    pub(crate) fn held(&self) -> Held {
        match self.handle {
            None => Held::Free,
            Some(id) if self.owned => Held::Own(id),
            Some(id) => Held::Borrow(id),
        }
    }

    /// It is on its way to a guest: no longer the host's.
    pub(crate) fn set_free(&mut self) {
        self.handle = None;
    }

    /// The type of the resource.
    pub fn ty(&self) -> ResourceType {
        self.ty
    }

    /// What stands for the resource where it is implemented.
    pub fn rep(&self) -> u32 {
        self.rep
    }

    /// Whether this is an `own`, not a `borrow`.
    pub fn owned(&self) -> bool {
        self.owned
    }

    /// Its type: `own` or `borrow`.
    pub(crate) fn handle_type(&self) -> Type {
        match self.owned {
            true => Type::Own(self.ty),
            false => Type::Borrow(self.ty),
        }
    }
}

macro_rules! opaque_id {
    ($($name:ident)*) => {$(
        impl $name {
            /// An end of no store.
            #[cfg(any(test, fuzzing))]
            pub(crate) fn new(id: u64) -> $name {
                $name(None, id)
            }

            /// An end that is gone already.
            pub(crate) fn of_no_store() -> $name {
                $name(None, 0)
            }

            pub(crate) fn in_store(store: StoreId, id: u64) -> $name {
                $name(Some(store), id)
            }

            pub(crate) fn id(&self) -> u64 {
                self.1
            }

            /// Its identity, when it is one of this store.
            pub(crate) fn id_in(&self, store: StoreId) -> Option<u64> {
                (self.0 == Some(store)).then_some(self.1)
            }
        }
    )*};
}

opaque_id! { StreamAny FutureAny }

macro_rules! val_from {
    ($($ty:ty => $case:ident)*) => {$(
        impl From<$ty> for Val {
            fn from(value: $ty) -> Val {
                Val::$case(value.into())
            }
        }
    )*};
}

val_from! {
    bool => Bool
    i8 => S8
    u8 => U8
    i16 => S16
    u16 => U16
    i32 => S32
    u32 => U32
    i64 => S64
    u64 => U64
    f32 => Float32
    f64 => Float64
    char => Char
    &str => String
    String => String
    Text => String
    ResourceAny => Resource
    ErrorContextAny => ErrorContext
    StreamAny => Stream
    FutureAny => Future
}

impl<T: Into<Val>> From<Vec<T>> for Val {
    fn from(values: Vec<T>) -> Val {
        Val::List(values.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Val>> From<Option<T>> for Val {
    fn from(value: Option<T>) -> Val {
        Val::Option(value.map(|value| Box::new(value.into())))
    }
}

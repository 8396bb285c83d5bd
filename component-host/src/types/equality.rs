//! Compares types by structure, each pair of shared parts once.
//!
//! A plain recursion would compare the parts of two types that share theirs 2^depth times.

use super::{
    Enum, FixedLengthList, Flags, FuncType, List, Map, OptionType, Record, ResultType, Tuple, Type,
    ValueTypes, Variant,
};
use std::collections::HashSet;
use std::sync::Arc;

/// The pairs of shared parts that were compared, by address: all equal, or it would be over.
type Seen = HashSet<(usize, usize)>;

trait Same {
    fn same(&self, other: &Self, seen: &mut Seen) -> bool;
}

impl Same for Type {
    fn same(&self, other: &Type, seen: &mut Seen) -> bool {
        match (self, other) {
            (Type::List(a), Type::List(b)) => a.same(b, seen),
            (Type::FixedLengthList(a), Type::FixedLengthList(b)) => a.same(b, seen),
            (Type::Map(a), Type::Map(b)) => a.same(b, seen),
            (Type::Record(a), Type::Record(b)) => a.same(b, seen),
            (Type::Tuple(a), Type::Tuple(b)) => a.same(b, seen),
            (Type::Variant(a), Type::Variant(b)) => a.same(b, seen),
            (Type::Enum(a), Type::Enum(b)) => a.same(b, seen),
            (Type::Option(a), Type::Option(b)) => a.same(b, seen),
            (Type::Result(a), Type::Result(b)) => a.same(b, seen),
            (Type::Flags(a), Type::Flags(b)) => a.same(b, seen),
            (Type::Own(a), Type::Own(b)) | (Type::Borrow(a), Type::Borrow(b)) => a == b,
            (Type::Stream(a), Type::Stream(b)) | (Type::Future(a), Type::Future(b)) => {
                a.same(b, seen)
            }
            // Primitive, or of different kinds.
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl<T: Same> Same for Arc<T> {
    fn same(&self, other: &Arc<T>, seen: &mut Seen) -> bool {
        let pair = (Arc::as_ptr(self).addr(), Arc::as_ptr(other).addr());
        pair.0 == pair.1 || !seen.insert(pair) || (**self).same(other, seen)
    }
}

impl<T: Same> Same for Option<T> {
    fn same(&self, other: &Option<T>, seen: &mut Seen) -> bool {
        match (self, other) {
            (Some(a), Some(b)) => a.same(b, seen),
            (None, None) => true,
            _ => false,
        }
    }
}

impl<T: Same> Same for [T] {
    fn same(&self, other: &[T], seen: &mut Seen) -> bool {
        self.len() == other.len() && self.iter().zip(other).all(|(a, b)| a.same(b, seen))
    }
}

/// A name and what it names.
impl<T: Same> Same for (super::Name, T) {
    fn same(&self, other: &(super::Name, T), seen: &mut Seen) -> bool {
        self.0 == other.0 && self.1.same(&other.1, seen)
    }
}

impl Same for List {
    fn same(&self, other: &List, seen: &mut Seen) -> bool {
        self.ty.same(&other.ty, seen)
    }
}

impl Same for FixedLengthList {
    fn same(&self, other: &FixedLengthList, seen: &mut Seen) -> bool {
        self.length == other.length && self.ty.same(&other.ty, seen)
    }
}

impl Same for Map {
    fn same(&self, other: &Map, seen: &mut Seen) -> bool {
        self.key.same(&other.key, seen) && self.value.same(&other.value, seen)
    }
}

impl Same for Record {
    fn same(&self, other: &Record, seen: &mut Seen) -> bool {
        self.fields.same(&other.fields, seen)
    }
}

impl Same for Tuple {
    fn same(&self, other: &Tuple, seen: &mut Seen) -> bool {
        self.types.same(&other.types, seen)
    }
}

impl Same for Variant {
    fn same(&self, other: &Variant, seen: &mut Seen) -> bool {
        self.cases.same(&other.cases, seen)
    }
}

impl Same for Enum {
    fn same(&self, other: &Enum, _: &mut Seen) -> bool {
        self.names == other.names
    }
}

impl Same for OptionType {
    fn same(&self, other: &OptionType, seen: &mut Seen) -> bool {
        self.ty.same(&other.ty, seen)
    }
}

impl Same for ResultType {
    fn same(&self, other: &ResultType, seen: &mut Seen) -> bool {
        self.ok.same(&other.ok, seen) && self.err.same(&other.err, seen)
    }
}

impl Same for Flags {
    fn same(&self, other: &Flags, _: &mut Seen) -> bool {
        self.names == other.names
    }
}

impl Same for ValueTypes {
    fn same(&self, other: &ValueTypes, seen: &mut Seen) -> bool {
        self.types.same(&other.types, seen)
    }
}

impl Same for FuncType {
    fn same(&self, other: &FuncType, seen: &mut Seen) -> bool {
        self.async_ == other.async_
            && self.names == other.names
            && self.params.same(&other.params, seen)
            && self.result.same(&other.result, seen)
    }
}

macro_rules! eq_by_structure {
    ($($name:ident)*) => {$(
        impl PartialEq for $name {
            fn eq(&self, other: &$name) -> bool {
                self.same(other, &mut Seen::new())
            }
        }

        impl Eq for $name {}
    )*};
}

eq_by_structure! {
    Type List FixedLengthList Map Record Tuple Variant Enum OptionType ResultType Flags ValueTypes
    FuncType
}

//! Lists, maps, options, results, tuples.

use super::tuples::for_each_tuple;
use super::{ComponentType, Lift, Lower, Mismatch, part};
use crate::error::{Result, bug};
use crate::transit::{Arrivals, Transit};
use crate::types::Type;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

fn element(ty: &Type) -> Result<&Type> {
    let element = match ty {
        Type::List(list) => Some(list.ty()),
        Type::FixedLengthList(list) => Some(list.ty()),
        _ => None,
    };
    part(element, ty)
}

macro_rules! lists {
    ($($rust:ty),*) => {$(
        impl<V: ComponentType> ComponentType for $rust {
            fn typecheck(ty: &Type) -> Result<(), Mismatch> {
                match ty {
                    Type::List(list) => V::typecheck(list.ty()).map_err(Mismatch::in_elements),
                    _ => Err(Mismatch::expected(Self::describe(), ty)),
                }
            }

            fn describe() -> String {
                format!("list<{}>", V::describe())
            }
        }
    )*};
}

lists!(Vec<V>, Box<[V]>, &[V]);

impl<V: Lower> Lower for Vec<V> {
    fn lower(self, ty: &Type, to: &mut Transit) -> Result<()> {
        V::lower_list(self, element(ty)?, to)
    }
}

impl<V: Lower> Lower for Box<[V]> {
    fn lower(self, ty: &Type, to: &mut Transit) -> Result<()> {
        V::lower_list(self.into_vec(), element(ty)?, to)
    }
}

impl<V: Lower + Clone> Lower for &[V] {
    fn lower(self, ty: &Type, to: &mut Transit) -> Result<()> {
        V::lower_list(self.to_vec(), element(ty)?, to)
    }
}

impl<V: Lift> Lift for Vec<V> {
    fn lift(ty: &Type, from: &mut Arrivals) -> Result<Vec<V>> {
        V::lift_list(element(ty)?, from)
    }
}

impl<V: Lift> Lift for Box<[V]> {
    fn lift(ty: &Type, from: &mut Arrivals) -> Result<Box<[V]>> {
        V::lift_list(element(ty)?, from).map(Vec::into_boxed_slice)
    }
}

impl<V: ComponentType, const N: usize> ComponentType for [V; N] {
    fn typecheck(ty: &Type) -> Result<(), Mismatch> {
        match ty {
            Type::FixedLengthList(list) if list.size() as usize == N => {
                V::typecheck(list.ty()).map_err(Mismatch::in_elements)
            }
            _ => Err(Mismatch::expected(Self::describe(), ty)),
        }
    }

    fn describe() -> String {
        format!("list<{}, {N}>", V::describe())
    }
}

impl<V: Lower, const N: usize> Lower for [V; N] {
    fn lower(self, ty: &Type, to: &mut Transit) -> Result<()> {
        let element = element(ty)?;
        self.into_iter()
            .try_for_each(|value| value.lower(element, to))
    }
}

impl<V: Lift, const N: usize> Lift for [V; N] {
    fn lift(ty: &Type, from: &mut Arrivals) -> Result<[V; N]> {
        let element = element(ty)?;
        let values: Vec<V> = (0..N)
            .map(|_| V::lift(element, from))
            .collect::<Result<_>>()?;
        values
            .try_into()
            .map_err(|_| bug!("{ty} arrived with another length"))
    }
}

impl<V: ComponentType> ComponentType for Box<V> {
    fn typecheck(ty: &Type) -> Result<(), Mismatch> {
        V::typecheck(ty)
    }

    fn describe() -> String {
        V::describe()
    }
}

impl<V: Lower> Lower for Box<V> {
    fn lower(self, ty: &Type, to: &mut Transit) -> Result<()> {
        (*self).lower(ty, to)
    }
}

impl<V: Lift> Lift for Box<V> {
    fn lift(ty: &Type, from: &mut Arrivals) -> Result<Box<V>> {
        V::lift(ty, from).map(Box::new)
    }
}

fn typecheck_map<K: ComponentType, V: ComponentType>(ty: &Type) -> Result<(), Mismatch> {
    match ty {
        Type::Map(map) => {
            K::typecheck(map.key()).map_err(|mismatch| mismatch.within("key"))?;
            V::typecheck(map.value()).map_err(|mismatch| mismatch.within("value"))
        }
        _ => Err(Mismatch::expected(describe_map::<K, V>(), ty)),
    }
}

fn describe_map<K: ComponentType, V: ComponentType>() -> String {
    format!("map<{}, {}>", K::describe(), V::describe())
}

fn lower_map<K: Lower, V: Lower>(
    entries: impl ExactSizeIterator<Item = (K, V)>,
    ty: &Type,
    to: &mut Transit,
) -> Result<()> {
    let Type::Map(map) = ty else {
        return Err(bug!("{ty} was taken for a map"));
    };
    to.word(entries.len() as u64);
    for (key, value) in entries {
        key.lower(map.key(), to)?;
        value.lower(map.value(), to)?;
    }
    Ok(())
}

/// Of entries with the same key the last one stays.
fn lift_map<K: Lift, V: Lift, M: FromIterator<(K, V)>>(
    ty: &Type,
    from: &mut Arrivals,
) -> Result<M> {
    let Type::Map(map) = ty else {
        return Err(bug!("{ty} was taken for a map"));
    };
    let length = from.word()?;
    let entries = (0..length).map(|_| {
        let key = K::lift(map.key(), from)?;
        Ok((key, V::lift(map.value(), from)?))
    });
    entries.collect()
}

macro_rules! maps {
    ($(($($generics:tt)*) $rust:ty, ($($lower:tt)*), ($($lift:tt)*);)*) => {$(
        impl<$($generics)*> ComponentType for $rust {
            fn typecheck(ty: &Type) -> Result<(), Mismatch> {
                typecheck_map::<K, V>(ty)
            }

            fn describe() -> String {
                describe_map::<K, V>()
            }
        }

        impl<$($lower)*> Lower for $rust {
            fn lower(self, ty: &Type, to: &mut Transit) -> Result<()> {
                lower_map(self.into_iter(), ty, to)
            }
        }

        impl<$($lift)*> Lift for $rust {
            fn lift(ty: &Type, from: &mut Arrivals) -> Result<Self> {
                lift_map(ty, from)
            }
        }
    )*};
}

maps! {
    (K: ComponentType, V: ComponentType) BTreeMap<K, V>,
        (K: Lower, V: Lower), (K: Lift + Ord, V: Lift);
    (K: ComponentType, V: ComponentType, S) HashMap<K, V, S>,
        (K: Lower, V: Lower, S), (K: Lift + Eq + Hash, V: Lift, S: BuildHasher + Default);
}

impl<V: ComponentType> ComponentType for Option<V> {
    fn typecheck(ty: &Type) -> Result<(), Mismatch> {
        match ty {
            Type::Option(option) => {
                V::typecheck(option.ty()).map_err(|mismatch| mismatch.within("some"))
            }
            _ => Err(Mismatch::expected(Self::describe(), ty)),
        }
    }

    fn describe() -> String {
        format!("option<{}>", V::describe())
    }
}

fn some(ty: &Type) -> Result<&Type> {
    let some = match ty {
        Type::Option(option) => Some(option.ty()),
        _ => None,
    };
    part(some, ty)
}

impl<V: Lower> Lower for Option<V> {
    fn lower(self, ty: &Type, to: &mut Transit) -> Result<()> {
        match self {
            None => to.word(0),
            Some(value) => {
                to.word(1);
                value.lower(some(ty)?, to)?;
            }
        }
        Ok(())
    }
}

impl<V: Lift> Lift for Option<V> {
    fn lift(ty: &Type, from: &mut Arrivals) -> Result<Option<V>> {
        match from.case()? {
            0 => Ok(None),
            _ => V::lift(some(ty)?, from).map(Some),
        }
    }
}

fn typecheck_payload<V: ComponentType>(ty: Option<&Type>) -> Result<(), Mismatch> {
    match ty {
        None if V::NOTHING => Ok(()),
        None => Err(Mismatch::of(format!(
            "expected {}, found no payload",
            V::describe()
        ))),
        Some(ty) => V::typecheck(ty),
    }
}

impl<O: ComponentType, E: ComponentType> ComponentType for Result<O, E> {
    fn typecheck(ty: &Type) -> Result<(), Mismatch> {
        match ty {
            Type::Result(result) => {
                let ok = typecheck_payload::<O>(result.ok());
                ok.map_err(|mismatch| mismatch.within("ok"))?;
                let err = typecheck_payload::<E>(result.err());
                err.map_err(|mismatch| mismatch.within("err"))
            }
            _ => Err(Mismatch::expected(Self::describe(), ty)),
        }
    }

    fn describe() -> String {
        match (O::NOTHING, E::NOTHING) {
            (true, true) => "result".to_owned(),
            (false, true) => format!("result<{}>", O::describe()),
            (true, false) => format!("result<_, {}>", E::describe()),
            (false, false) => format!("result<{}, {}>", O::describe(), E::describe()),
        }
    }
}

/// What stands for the type of a payload that is not there; `()` never looks at it.
const NONE: &Type = &Type::Bool;

fn payload(ty: &Type, ok: bool) -> Result<&Type> {
    match ty {
        Type::Result(result) if ok => Ok(result.ok().unwrap_or(NONE)),
        Type::Result(result) => Ok(result.err().unwrap_or(NONE)),
        _ => Err(bug!("{ty} was taken for a result")),
    }
}

impl<O: Lower, E: Lower> Lower for Result<O, E> {
    fn lower(self, ty: &Type, to: &mut Transit) -> Result<()> {
        match self {
            Ok(value) => {
                to.word(0);
                value.lower(payload(ty, true)?, to)
            }
            Err(value) => {
                to.word(1);
                value.lower(payload(ty, false)?, to)
            }
        }
    }
}

impl<O: Lift, E: Lift> Lift for Result<O, E> {
    fn lift(ty: &Type, from: &mut Arrivals) -> Result<Result<O, E>> {
        Ok(match from.case()? {
            0 => Ok(O::lift(payload(ty, true)?, from)?),
            _ => Err(E::lift(payload(ty, false)?, from)?),
        })
    }
}

/// `()` stands for a payload that is not there; no component-level type is empty.
impl ComponentType for () {
    const NOTHING: bool = true;

    fn typecheck(ty: &Type) -> Result<(), Mismatch> {
        Err(Mismatch::expected("no payload", ty))
    }

    fn describe() -> String {
        "nothing".to_owned()
    }
}

impl Lower for () {
    fn lower(self, _ty: &Type, _to: &mut Transit) -> Result<()> {
        Ok(())
    }
}

impl Lift for () {
    fn lift(_ty: &Type, _from: &mut Arrivals) -> Result<()> {
        Ok(())
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt)+))*) => {$(
        impl<$($name: ComponentType),+> ComponentType for ($($name,)+) {
            fn typecheck(ty: &Type) -> Result<(), Mismatch> {
                let types = match ty {
                    Type::Tuple(tuple) => tuple.types(),
                    _ => return Err(Mismatch::expected(Self::describe(), ty)),
                };
                super::lists::typecheck_all(types, &[$($name::typecheck),+])
            }

            fn describe() -> String {
                format!("tuple<{}>", [$($name::describe()),+].join(", "))
            }
        }

        impl<$($name: Lower),+> Lower for ($($name,)+) {
            fn lower(self, ty: &Type, to: &mut Transit) -> Result<()> {
                $(self.$index.lower(tuple_part(ty, $index)?, to)?;)+
                Ok(())
            }
        }

        impl<$($name: Lift),+> Lift for ($($name,)+) {
            fn lift(ty: &Type, from: &mut Arrivals) -> Result<Self> {
                Ok(($($name::lift(tuple_part(ty, $index)?, from)?,)+))
            }
        }
    )*};
}

fn tuple_part(ty: &Type, index: usize) -> Result<&Type> {
    let found = match ty {
        Type::Tuple(tuple) => tuple.types().get(index),
        _ => None,
    };
    part(found, ty)
}

for_each_tuple!(tuples);

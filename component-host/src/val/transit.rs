//! Writes [`Val`]s among the values of a call, and reads them.

use super::{Val, field};
use crate::abi::despecialization::{case_type, lift_case, match_case, type_mismatch};
use crate::abi::loading::{canonicalize_nan32, canonicalize_nan64};
use crate::abi::storing::{check_length, missing_field, pack_flags_into_int};
use crate::error::{Error, bug};
use crate::transit::{Arrivals, Transit, number_size};
use crate::types::{Flags, Name, Type};

/// Writes values of the given types.
///
/// # Errors
///
/// `Type` when one is not of its type.
pub(crate) fn send(vals: &[Val], types: &[Type]) -> Result<Transit, Error> {
    let mut out = Transit::new();
    send_into(vals, types, &mut out)?;
    Ok(out)
}

pub(crate) fn send_into(vals: &[Val], types: &[Type], out: &mut Transit) -> Result<(), Error> {
    if vals.len() != types.len() {
        return Err(Error::ty(format!(
            "expected {} values, found {}",
            types.len(),
            vals.len()
        )));
    }
    send_all(vals.iter().zip(types), out)
}

/// Reads values of the given types.
pub(crate) fn receive(types: &[Type], from: &mut Arrivals) -> Result<Vec<Val>, Error> {
    types.iter().map(|t| receive_val(from, t)).collect()
}

/// Writes a list.
pub(crate) fn send_list(elements: &[Val], t: &Type, out: &mut Transit) -> Result<(), Error> {
    if let Some(bytes) = pack_numbers(elements, t) {
        out.bytes(bytes);
        return Ok(());
    }
    // For numbers that are none, the long way says what is wrong.
    out.word(elements.len() as u64);
    send_all(elements.iter().map(|v| (v, t)), out)
}

/// Reads a list.
pub(crate) fn receive_list(from: &mut Arrivals, t: &Type) -> Result<Vec<Val>, Error> {
    if number_size(t).is_some() {
        return Ok(unpack_numbers(&from.bytes()?, t));
    }
    let length = from.word()?;
    receive_many(from, length, t)
}

fn send_all<'a>(
    parts: impl Iterator<Item = (&'a Val, &'a Type)>,
    out: &mut Transit,
) -> Result<(), Error> {
    for (v, t) in parts {
        send_val(v, t, out)?;
    }
    Ok(())
}

pub(crate) fn send_val(v: &Val, t: &Type, out: &mut Transit) -> Result<(), Error> {
    match (t, v) {
        (Type::String, Val::String(text)) => out.text(text.clone()),
        (Type::List(list), Val::List(elements)) => send_list(elements, list.ty(), out)?,
        (Type::FixedLengthList(list), Val::List(elements)) => {
            check_length(list, elements)?;
            send_all(elements.iter().map(|v| (v, list.ty())), out)?;
        }
        (Type::Map(map), Val::Map(entries)) => {
            out.word(entries.len() as u64);
            for (key, value) in entries {
                send_val(key, map.key(), out)?;
                send_val(value, map.value(), out)?;
            }
        }
        (Type::Record(record), Val::Record(fields))
            if fields.len() == record.named_fields().len() =>
        {
            for (i, (name, t)) in record.named_fields().iter().enumerate() {
                let v = field(fields, i, name).ok_or_else(|| missing_field(name))?;
                send_val(v, t, out)?;
            }
        }
        (Type::Tuple(tuple), Val::Tuple(elements)) if elements.len() == tuple.types().len() => {
            send_all(elements.iter().zip(tuple.types()), out)?;
        }
        (Type::Variant(_) | Type::Enum(_) | Type::Option(_) | Type::Result(_), _) => {
            let (case_index, payload) = match_case(v, t)?;
            out.word(u64::from(case_index));
            if let (Some(v), Some(t)) = (payload, case_type(t, case_index)) {
                send_val(v, t, out)?;
            }
        }
        (Type::Own(rt), Val::Resource(resource)) if resource.ty() == *rt && resource.owned() => {
            out.handle(v.clone(), t);
        }
        (Type::Borrow(rt), Val::Resource(resource)) if resource.ty() == *rt => {
            out.handle(v.clone(), t);
        }
        (Type::Stream(_), Val::Stream(_))
        | (Type::Future(_), Val::Future(_))
        | (Type::ErrorContext, Val::ErrorContext(_)) => out.handle(v.clone(), t),
        _ => out.word(scalar_bits(v, t)?),
    }
    Ok(())
}

fn scalar_bits(v: &Val, t: &Type) -> Result<u64, Error> {
    Ok(match (t, v) {
        (Type::Bool, Val::Bool(v)) => u64::from(*v),
        (Type::U8, Val::U8(v)) => u64::from(*v),
        (Type::U16, Val::U16(v)) => u64::from(*v),
        (Type::U32, Val::U32(v)) => u64::from(*v),
        (Type::U64, Val::U64(v)) => *v,
        (Type::S8, Val::S8(v)) => u64::from(*v as u8),
        (Type::S16, Val::S16(v)) => u64::from(*v as u16),
        (Type::S32, Val::S32(v)) => u64::from(*v as u32),
        (Type::S64, Val::S64(v)) => *v as u64,
        (Type::Float32, Val::Float32(v)) => u64::from(canonicalize_nan32(*v).to_bits()),
        (Type::Float64, Val::Float64(v)) => canonicalize_nan64(*v).to_bits(),
        (Type::Char, Val::Char(v)) => u64::from(*v),
        (Type::Flags(flags), Val::Flags(set)) => {
            pack_flags_into_int(set, flags).ok_or_else(|| type_mismatch(v, t))?
        }
        _ => return Err(type_mismatch(v, t)),
    })
}

pub(crate) fn receive_val(from: &mut Arrivals, t: &Type) -> Result<Val, Error> {
    Ok(match t {
        Type::String => Val::String(from.text()?),
        Type::List(list) => Val::List(receive_list(from, list.ty())?),
        Type::FixedLengthList(list) => {
            Val::List(receive_many(from, u64::from(list.size()), list.ty())?)
        }
        Type::Map(map) => {
            let length = from.word()?;
            let entries = (0..length).map(|_| {
                let key = receive_val(from, map.key())?;
                Ok((key, receive_val(from, map.value())?))
            });
            Val::Map(entries.collect::<Result<_, Error>>()?)
        }
        Type::Record(record) => {
            let fields = record.named_fields().iter();
            let fields = fields.map(|(name, t)| Ok((Name::clone(name), receive_val(from, t)?)));
            Val::Record(fields.collect::<Result<_, Error>>()?)
        }
        Type::Tuple(tuple) => Val::Tuple(receive(tuple.types(), from)?),
        Type::Variant(_) | Type::Enum(_) | Type::Option(_) | Type::Result(_) => {
            let case_index = from.case()?;
            let payload = match case_type(t, case_index) {
                Some(payload) => Some(receive_val(from, payload)?),
                None => None,
            };
            lift_case(t, case_index, payload)?
        }
        Type::Own(_) | Type::Borrow(_) => from.handle()?,
        Type::Stream(_) | Type::Future(_) | Type::ErrorContext => from.handle()?,
        _ => scalar(from.word()?, t)?,
    })
}

fn receive_many(from: &mut Arrivals, count: u64, t: &Type) -> Result<Vec<Val>, Error> {
    (0..count).map(|_| receive_val(from, t)).collect()
}

fn scalar(bits: u64, t: &Type) -> Result<Val, Error> {
    Ok(match t {
        Type::Bool => Val::Bool(bits != 0),
        Type::U8 => Val::U8(bits as u8),
        Type::U16 => Val::U16(bits as u16),
        Type::U32 => Val::U32(bits as u32),
        Type::U64 => Val::U64(bits),
        Type::S8 => Val::S8(bits as i8),
        Type::S16 => Val::S16(bits as i16),
        Type::S32 => Val::S32(bits as i32),
        Type::S64 => Val::S64(bits as i64),
        Type::Float32 => Val::Float32(f32::from_bits(bits as u32)),
        Type::Float64 => Val::Float64(f64::from_bits(bits)),
        Type::Char => match char::from_u32(bits as u32) {
            Some(c) => Val::Char(c),
            None => return Err(bug!("{bits:#x} was let through as a char")),
        },
        Type::Flags(flags) => Val::Flags(flag_names(bits, flags)),
        _ => return Err(bug!("{t} is not one word")),
    })
}

fn flag_names(bits: u64, flags: &Flags) -> Vec<Name> {
    let set = flags.shared_names().iter().enumerate();
    let set = set.filter(|(bit, _)| bits.checked_shr(*bit as u32).unwrap_or(0) & 1 == 1);
    set.map(|(_, name)| Name::clone(name)).collect()
}

/// The bytes of elements that are numbers; none when the type is another, or one of them is not of
/// the type.
fn pack_numbers(v: &[Val], elem_type: &Type) -> Option<Vec<u8>> {
    fn pack<const N: usize>(v: &[Val], bytes: impl Fn(&Val) -> Option<[u8; N]>) -> Option<Vec<u8>> {
        let mut out = vec![0; v.len().checked_mul(N)?];
        let (slots, _) = out.as_chunks_mut::<N>();
        for (slot, v) in slots.iter_mut().zip(v) {
            *slot = bytes(v)?;
        }
        Some(out)
    }
    macro_rules! pack {
        ($case:ident) => {
            pack(v, |v| match v {
                Val::$case(v) => Some(v.to_le_bytes()),
                _ => None,
            })
        };
    }
    match elem_type {
        Type::U8 => pack!(U8),
        Type::S8 => pack!(S8),
        Type::U16 => pack!(U16),
        Type::S16 => pack!(S16),
        Type::U32 => pack!(U32),
        Type::S32 => pack!(S32),
        Type::U64 => pack!(U64),
        Type::S64 => pack!(S64),
        Type::Float32 => pack(v, |v| match v {
            Val::Float32(v) => Some(canonicalize_nan32(*v).to_le_bytes()),
            _ => None,
        }),
        Type::Float64 => pack(v, |v| match v {
            Val::Float64(v) => Some(canonicalize_nan64(*v).to_le_bytes()),
            _ => None,
        }),
        _ => None,
    }
}

fn unpack_numbers(bytes: &[u8], elem_type: &Type) -> Vec<Val> {
    fn unpack<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> Val) -> Vec<Val> {
        let (numbers, _) = bytes.as_chunks::<N>();
        numbers.iter().map(|bytes| number(*bytes)).collect()
    }
    match elem_type {
        Type::U8 => unpack(bytes, |[byte]| Val::U8(byte)),
        Type::S8 => unpack(bytes, |bytes| Val::S8(i8::from_le_bytes(bytes))),
        Type::U16 => unpack(bytes, |bytes| Val::U16(u16::from_le_bytes(bytes))),
        Type::S16 => unpack(bytes, |bytes| Val::S16(i16::from_le_bytes(bytes))),
        Type::U32 => unpack(bytes, |bytes| Val::U32(u32::from_le_bytes(bytes))),
        Type::S32 => unpack(bytes, |bytes| Val::S32(i32::from_le_bytes(bytes))),
        Type::U64 => unpack(bytes, |bytes| Val::U64(u64::from_le_bytes(bytes))),
        Type::S64 => unpack(bytes, |bytes| Val::S64(i64::from_le_bytes(bytes))),
        Type::Float32 => unpack(bytes, |bytes| Val::Float32(f32::from_le_bytes(bytes))),
        Type::Float64 => unpack(bytes, |bytes| Val::Float64(f64::from_le_bytes(bytes))),
        _ => Vec::new(),
    }
}

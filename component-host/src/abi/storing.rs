//! Spec: ## Storing
//!
//! Values may come from the embedder and have any shape: what is not of its type is an error of
//! kind `Type`, found when it is reached. Callers who want it found before anything is stored or
//! handed over ask `Val::type_check` first.

use super::alignment::alignment;
use super::despecialization::{case_type, match_case, type_mismatch, variant_layout};
use super::element_size::elem_size;
use super::loading::{
    REALLOC_I32_MAX, canonicalize_nan32, canonicalize_nan64, in_bounds, is_aligned, valid_range_mut,
};
use super::options::{LiftLower, Peer, ptr_size};
use super::strings::store_string_into_range;
use crate::error::{Error, bug, trap_if};
use crate::trap::Trap;
use crate::types::{FixedLengthList, Flags, Map, Name, Type};
use crate::val::{Val, field};

pub(crate) fn store<C: LiftLower>(cx: &mut C, v: &Val, t: &Type, ptr: u64) -> Result<(), Error> {
    match (t, v) {
        (Type::String, Val::String(text)) => {
            let pair = store_string_into_range(cx, text)?;
            store_pair(cx, pair, ptr)
        }
        (Type::List(list), Val::List(elements)) => {
            let pair = store_list_into_range(cx, elements, list.ty())?;
            store_pair(cx, pair, ptr)
        }
        (Type::FixedLengthList(list), Val::List(elements)) => {
            check_length(list, elements)?;
            store_list_into_valid_range(cx, elements, ptr, list.ty())
        }
        (Type::Map(map), Val::Map(entries)) => {
            let pair = store_map_into_range(cx, entries, map)?;
            store_pair(cx, pair, ptr)
        }
        (Type::Record(record), Val::Record(fields))
            if fields.len() == record.named_fields().len() =>
        {
            let offsets = &record.layout(cx.ptr_type()).offsets;
            for (i, ((name, t), offset)) in record.named_fields().iter().zip(offsets).enumerate() {
                let v = field(fields, i, name).ok_or_else(|| missing_field(name))?;
                store(cx, v, t, ptr + offset)?;
            }
            Ok(())
        }
        (Type::Tuple(tuple), Val::Tuple(elements)) if elements.len() == tuple.types().len() => {
            let offsets = &tuple.layout(cx.ptr_type()).offsets;
            store_tuple(cx, elements, tuple.types(), offsets, ptr)
        }
        (Type::Variant(_) | Type::Enum(_) | Type::Option(_) | Type::Result(_), _) => {
            store_variant(cx, v, t, ptr)
        }
        _ => {
            let bits = lower_scalar(cx, v, t)?;
            store_int(cx, bits, ptr, elem_size(t, cx.ptr_type()))
        }
    }
}

/// The bits of a value whose flat form is one core value; those of its core value, zero-extended.
pub(crate) fn lower_scalar<C: LiftLower>(cx: &mut C, v: &Val, t: &Type) -> Result<u64, Error> {
    Ok(match (t, v) {
        (Type::Bool, Val::Bool(v)) => u64::from(*v),
        (Type::U8, Val::U8(v)) => u64::from(*v),
        (Type::U16, Val::U16(v)) => u64::from(*v),
        (Type::U32, Val::U32(v)) => u64::from(*v),
        (Type::U64, Val::U64(v)) => *v,
        // Sign-extended to the width of the core value, and no further.
        (Type::S8, Val::S8(v)) => u64::from(i32::from(*v) as u32),
        (Type::S16, Val::S16(v)) => u64::from(i32::from(*v) as u32),
        (Type::S32, Val::S32(v)) => u64::from(*v as u32),
        (Type::S64, Val::S64(v)) => *v as u64,
        (Type::Float32, Val::Float32(v)) => u64::from(canonicalize_nan32(*v).to_bits()),
        (Type::Float64, Val::Float64(v)) => canonicalize_nan64(*v).to_bits(),
        (Type::Char, Val::Char(v)) => u64::from(*v),
        (Type::Flags(flags), Val::Flags(set)) => {
            pack_flags_into_int(set, flags).ok_or_else(|| type_mismatch(v, t))?
        }
        (Type::Own(rt), Val::Resource(resource)) if resource.ty() == *rt && resource.owned() => {
            u64::from(cx.lower_own(resource, *rt)?)
        }
        (Type::Borrow(rt), Val::Resource(resource)) if resource.ty() == *rt => {
            u64::from(cx.lower_borrow(resource, *rt)?)
        }
        (Type::Stream(t), Val::Stream(_)) => u64::from(cx.lower_stream(v, t.as_deref())?),
        (Type::Future(t), Val::Future(_)) => u64::from(cx.lower_future(v, t.as_deref())?),
        (Type::ErrorContext, Val::ErrorContext(v)) => u64::from(cx.lower_error_context(v)?),
        _ => return Err(type_mismatch(v, t)),
    })
}

/// The low bytes, little-endian.
pub(crate) fn store_int<C: LiftLower>(
    cx: &mut C,
    v: u64,
    ptr: u64,
    nbytes: u64,
) -> Result<(), Error> {
    let out = valid_range_mut(cx.memory_mut()?, ptr, nbytes)?;
    match v.to_le_bytes().get(..out.len()) {
        Some(low) => out.copy_from_slice(low),
        None => return Err(bug!("an integer of {nbytes} bytes")),
    }
    Ok(())
}

/// A pointer and a length, as strings and lists are in memory.
fn store_pair<C: LiftLower>(cx: &mut C, pair: (u64, u64), ptr: u64) -> Result<(), Error> {
    let size = u64::from(ptr_size(cx.ptr_type()));
    store_int(cx, pair.0, ptr, size)?;
    store_int(cx, pair.1, ptr + size, size)
}

/// What memory is asked for; it chooses the text of the trap when that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    String,
    List,
    /// Parameters or results that are too many to be flat.
    Values,
}

pub(crate) fn allocate<C: LiftLower>(
    cx: &mut C,
    alignment: u32,
    byte_length: u64,
    content: Content,
) -> Result<u64, Error> {
    reallocate(cx, 0, 0, alignment, byte_length, content)
}

/// Calls the guest's `realloc` and checks what it returns, as the specification does after each
/// call of it.
pub(crate) fn reallocate<C: LiftLower>(
    cx: &mut C,
    old: u64,
    old_byte_length: u64,
    alignment: u32,
    new_byte_length: u64,
    content: Content,
) -> Result<u64, Error> {
    // What was lifted from a guest is always shorter; a value of the embedder's may be anything.
    if new_byte_length > REALLOC_I32_MAX {
        return Err(Error::ty(format!(
            "a string or list that takes {new_byte_length} bytes in the guest's memory; at most \
             {REALLOC_I32_MAX} can be asked for"
        )));
    }
    let ptr = cx.reallocate(old, old_byte_length, alignment, new_byte_length)?;
    let (unaligned, out_of_bounds) = match (cx.peer(), content) {
        (Peer::Host, _) => (Trap::ReallocNotAligned, Trap::ReallocOutOfBounds),
        (Peer::Guest, Content::String) => (Trap::UnalignedPointer, Trap::StringContentOutOfBounds),
        (Peer::Guest, Content::List) => (Trap::UnalignedPointer, Trap::ListOutOfBounds),
        (Peer::Guest, Content::Values) => (Trap::UnalignedPointer, Trap::PointerOutOfBounds),
    };
    trap_if!(!is_aligned(ptr, alignment), unaligned);
    trap_if!(
        !in_bounds(cx.memory()?, ptr, new_byte_length),
        out_of_bounds
    );
    Ok(ptr)
}

/// Returns the pointer and the length.
pub(crate) fn store_list_into_range<C: LiftLower>(
    cx: &mut C,
    v: &[Val],
    elem_type: &Type,
) -> Result<(u64, u64), Error> {
    let length = v.len() as u64;
    let byte_length = length.saturating_mul(elem_size(elem_type, cx.ptr_type()));
    let alignment = alignment(elem_type, cx.ptr_type());
    let ptr = allocate(cx, alignment, byte_length, Content::List)?;
    store_list_into_valid_range(cx, v, ptr, elem_type)?;
    Ok((ptr, length))
}

/// Stores at a range that is aligned and within memory; also how a stream's buffer is filled.
pub(crate) fn store_list_into_valid_range<C: LiftLower>(
    cx: &mut C,
    v: &[Val],
    ptr: u64,
    elem_type: &Type,
) -> Result<(), Error> {
    let elem_size = elem_size(elem_type, cx.ptr_type());
    let byte_length = (v.len() as u64).saturating_mul(elem_size);
    let out = valid_range_mut(cx.memory_mut()?, ptr, byte_length)?;
    if store_numbers(out, v, elem_type) {
        return Ok(());
    }
    for (i, e) in v.iter().enumerate() {
        store(cx, e, elem_type, ptr + i as u64 * elem_size)?;
    }
    Ok(())
}

/// The short way for elements that are numbers. False when they are not, or not all of them: then
/// the long way says what is wrong.
fn store_numbers(out: &mut [u8], v: &[Val], elem_type: &Type) -> bool {
    fn pack<const N: usize>(
        out: &mut [u8],
        v: &[Val],
        bytes: impl Fn(&Val) -> Option<[u8; N]>,
    ) -> bool {
        let (slots, _) = out.as_chunks_mut::<N>();
        slots.iter_mut().zip(v).all(|(slot, v)| match bytes(v) {
            Some(bytes) => {
                *slot = bytes;
                true
            }
            None => false,
        })
    }
    macro_rules! pack {
        ($case:ident) => {
            pack(out, v, |v| match v {
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
        Type::Float32 => pack(out, v, |v| match v {
            Val::Float32(v) => Some(canonicalize_nan32(*v).to_le_bytes()),
            _ => None,
        }),
        Type::Float64 => pack(out, v, |v| match v {
            Val::Float64(v) => Some(canonicalize_nan64(*v).to_le_bytes()),
            _ => None,
        }),
        _ => false,
    }
}

/// A map is in memory a list of pairs. Returns the pointer and the length.
pub(crate) fn store_map_into_range<C: LiftLower>(
    cx: &mut C,
    entries: &[(Val, Val)],
    map: &Map,
) -> Result<(u64, u64), Error> {
    let pair = map.layout(cx.ptr_type());
    let [key_offset, value_offset] = *pair.offsets else {
        return Err(bug!("a map of {} parts", pair.offsets.len()));
    };
    let length = entries.len() as u64;
    let byte_length = length.saturating_mul(pair.layout.size);
    let begin = allocate(cx, pair.layout.alignment, byte_length, Content::List)?;
    let mut ptr = begin;
    for (key, value) in entries {
        store(cx, key, map.key(), ptr + key_offset)?;
        store(cx, value, map.value(), ptr + value_offset)?;
        ptr += pair.layout.size;
    }
    Ok((begin, length))
}

/// The spec's `store_record`, for types without labels.
pub(crate) fn store_tuple<C: LiftLower>(
    cx: &mut C,
    v: &[Val],
    types: &[Type],
    offsets: &[u64],
    ptr: u64,
) -> Result<(), Error> {
    for ((v, t), offset) in v.iter().zip(types).zip(offsets) {
        store(cx, v, t, ptr + offset)?;
    }
    Ok(())
}

fn store_variant<C: LiftLower>(cx: &mut C, v: &Val, t: &Type, ptr: u64) -> Result<(), Error> {
    let (case_index, case_value) = match_case(v, t)?;
    let Some(layout) = variant_layout(t, cx.ptr_type()) else {
        return Err(bug!("{t} is not a variant"));
    };
    let disc_size = u64::from(layout.discriminant_size);
    store_int(cx, u64::from(case_index), ptr, disc_size)?;
    match (case_value, case_type(t, case_index)) {
        (Some(v), Some(t)) => store(cx, v, t, ptr + layout.payload_offset),
        _ => Ok(()),
    }
}

/// None when a name is not that of a flag.
fn pack_flags_into_int(set: &[Name], flags: &Flags) -> Option<u64> {
    let names = flags.shared_names();
    set.iter().try_fold(0, |bits, name| {
        let bit = names.iter().position(|label| label == name)?;
        Some(bits | 1_u64.checked_shl(bit as u32)?)
    })
}

pub(crate) fn check_length(list: &FixedLengthList, elements: &[Val]) -> Result<(), Error> {
    if elements.len() == list.size() as usize {
        return Ok(());
    }
    Err(Error::ty(format!(
        "expected {} elements, found {}",
        list.size(),
        elements.len()
    )))
}

pub(crate) fn missing_field(name: &str) -> Error {
    Error::ty(format!("expected a field `{name}`, found none"))
}

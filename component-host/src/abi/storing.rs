//! Spec: ## Storing
//!
//! What the embedder gave was found to be of its type when it was [sent](crate::transit).

use super::alignment::alignment;
use super::despecialization::{case_type, variant_layout};
use super::element_size::elem_size;
use super::loading::{REALLOC_I32_MAX, in_bounds, is_aligned, valid_range_mut};
use super::options::{LiftLower, Peer, PtrType, ptr_size};
use super::strings::store_string_into_range;
use crate::error::{Error, bug, trap_if};
use crate::transit::{Arrivals, number_size};
use crate::trap::Trap;
use crate::types::{FixedLengthList, Flags, Map, Name, Type};
use crate::val::{ResourceAny, Val};

/// Stores the next value at a range that is aligned and within memory.
pub(crate) fn store<C: LiftLower>(
    cx: &mut C,
    from: &mut Arrivals,
    t: &Type,
    ptr: u64,
) -> Result<(), Error> {
    if t.contents().plain {
        let size = elem_size(t, cx.ptr_type());
        return store_plain(valid_range_mut(cx.memory_mut()?, ptr, size)?, from, t);
    }
    match t {
        Type::String => {
            let pair = store_string_into_range(cx, &from.text()?)?;
            store_pair(cx, pair, ptr)
        }
        Type::List(list) => {
            let pair = store_list_into_range(cx, from, list.ty())?;
            store_pair(cx, pair, ptr)
        }
        Type::FixedLengthList(list) => {
            store_elements(cx, from, u64::from(list.size()), ptr, list.ty())
        }
        Type::Map(map) => {
            let pair = store_map_into_range(cx, from, map)?;
            store_pair(cx, pair, ptr)
        }
        Type::Record(record) => {
            let offsets = &record.layout(cx.ptr_type()).offsets;
            for ((_, t), offset) in record.named_fields().iter().zip(offsets) {
                store(cx, from, t, ptr + offset)?;
            }
            Ok(())
        }
        Type::Tuple(tuple) => {
            let offsets = &tuple.layout(cx.ptr_type()).offsets;
            store_tuple(cx, from, tuple.types(), offsets, ptr)
        }
        Type::Variant(_) | Type::Enum(_) | Type::Option(_) | Type::Result(_) => {
            store_variant(cx, from, t, ptr)
        }
        _ => {
            let bits = lower_scalar(cx, from, t)?;
            store_int(cx, bits, ptr, elem_size(t, cx.ptr_type()))
        }
    }
}

/// The bits of the next value, whose flat form is one core value; those of its core value,
/// zero-extended.
pub(crate) fn lower_scalar<C: LiftLower>(
    cx: &mut C,
    from: &mut Arrivals,
    t: &Type,
) -> Result<u64, Error> {
    let index = match t {
        Type::Own(rt) => cx.lower_own(&resource(from)?, *rt)?,
        Type::Borrow(rt) => cx.lower_borrow(&resource(from)?, *rt)?,
        Type::Stream(t) => cx.lower_stream(&from.handle()?, t.as_deref())?,
        Type::Future(t) => cx.lower_future(&from.handle()?, t.as_deref())?,
        Type::ErrorContext => match from.handle()? {
            Val::ErrorContext(error_context) => cx.lower_error_context(&error_context)?,
            other => return Err(bug!("{} among the values of type {t}", other.kind())),
        },
        _ => return Ok(lower_number(t, from.word()?)),
    };
    Ok(u64::from(index))
}

/// The bits of a number's core value, zero-extended, from its word.
pub(crate) fn lower_number(t: &Type, word: u64) -> u64 {
    match t {
        // Sign-extended to the width of the core value, and no further.
        Type::S8 => u64::from(i32::from(word as i8) as u32),
        Type::S16 => u64::from(i32::from(word as i16) as u32),
        _ => word,
    }
}

fn resource(from: &mut Arrivals) -> Result<ResourceAny, Error> {
    match from.handle()? {
        Val::Resource(resource) => Ok(resource),
        other => Err(bug!("{} among the values, not a resource", other.kind())),
    }
}

/// Stores the next value, which has no pointers and no handles, in the bytes that are all of it.
/// What is padding stays as it is.
fn store_plain(out: &mut [u8], from: &mut Arrivals, t: &Type) -> Result<(), Error> {
    const LAYOUT: PtrType = PtrType::I32;
    match t {
        Type::Record(record) => {
            let offsets = &record.layout(LAYOUT).offsets;
            for ((_, field), offset) in record.named_fields().iter().zip(offsets) {
                store_plain(after(out, *offset)?, from, field)?;
            }
            Ok(())
        }
        Type::Tuple(tuple) => {
            let offsets = &tuple.layout(LAYOUT).offsets;
            for (t, offset) in tuple.types().iter().zip(offsets) {
                store_plain(after(out, *offset)?, from, t)?;
            }
            Ok(())
        }
        Type::FixedLengthList(list) => {
            let size = elem_size(list.ty(), LAYOUT);
            for i in 0..u64::from(list.size()) {
                store_plain(after(out, i * size)?, from, list.ty())?;
            }
            Ok(())
        }
        Type::Variant(_) | Type::Enum(_) | Type::Option(_) | Type::Result(_) => {
            let Some(layout) = variant_layout(t, LAYOUT) else {
                return Err(bug!("{t} is not a variant"));
            };
            let case_index = from.case()?;
            write_int(out, u64::from(case_index), layout.discriminant_size.into())?;
            match case_type(t, case_index) {
                Some(payload) => store_plain(after(out, layout.payload_offset)?, from, payload),
                None => Ok(()),
            }
        }
        _ => {
            let word = from.word()?;
            match write_number(out, word, t) {
                Some(()) => Ok(()),
                None => write_int(out, word, elem_size(t, LAYOUT)),
            }
        }
    }
}

/// As [`write_int`], for the types that most numbers have.
fn write_number(out: &mut [u8], word: u64, t: &Type) -> Option<()> {
    match t {
        Type::Bool | Type::U8 | Type::S8 => *out.first_mut()? = word as u8,
        Type::U16 | Type::S16 => *out.first_chunk_mut()? = (word as u16).to_le_bytes(),
        Type::U32 | Type::S32 | Type::Float32 | Type::Char => {
            *out.first_chunk_mut()? = (word as u32).to_le_bytes();
        }
        Type::U64 | Type::S64 | Type::Float64 => *out.first_chunk_mut()? = word.to_le_bytes(),
        _ => return None,
    }
    Some(())
}

fn after(bytes: &mut [u8], offset: u64) -> Result<&mut [u8], Error> {
    let length = bytes.len();
    let after = usize::try_from(offset).ok();
    let after = after.and_then(|offset| bytes.get_mut(offset..));
    after.ok_or_else(|| bug!("{offset} is beyond the value's {length} bytes"))
}

/// The low bytes, little-endian, into the first of `out`.
fn write_int(out: &mut [u8], v: u64, nbytes: u64) -> Result<(), Error> {
    let length = out.len();
    let low = usize::try_from(nbytes).ok().filter(|nbytes| *nbytes <= 8);
    match low.and_then(|nbytes| out.get_mut(..nbytes)) {
        Some(out) => {
            for (byte, low) in out.iter_mut().zip(v.to_le_bytes()) {
                *byte = low;
            }
            Ok(())
        }
        None => Err(bug!("an integer of {nbytes} bytes into {length}")),
    }
}

/// The low bytes, little-endian.
pub(crate) fn store_int<C: LiftLower>(
    cx: &mut C,
    v: u64,
    ptr: u64,
    nbytes: u64,
) -> Result<(), Error> {
    write_int(valid_range_mut(cx.memory_mut()?, ptr, nbytes)?, v, nbytes)
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

/// Stores the next list. Returns the pointer and the length.
pub(crate) fn store_list_into_range<C: LiftLower>(
    cx: &mut C,
    from: &mut Arrivals,
    elem_type: &Type,
) -> Result<(u64, u64), Error> {
    let elem_size = elem_size(elem_type, cx.ptr_type());
    let alignment = alignment(elem_type, cx.ptr_type());
    if number_size(elem_type).is_some() {
        let bytes = from.bytes()?;
        let byte_length = bytes.len() as u64;
        let ptr = allocate(cx, alignment, byte_length, Content::List)?;
        valid_range_mut(cx.memory_mut()?, ptr, byte_length)?.copy_from_slice(&bytes);
        return Ok((ptr, byte_length / elem_size.max(1)));
    }
    let length = from.word()?;
    let byte_length = length.saturating_mul(elem_size);
    let ptr = allocate(cx, alignment, byte_length, Content::List)?;
    store_elements(cx, from, length, ptr, elem_type)?;
    Ok((ptr, length))
}

/// Stores the next list at a range that is aligned and within memory; how a stream's buffer is
/// filled.
pub(crate) fn store_list_into_valid_range<C: LiftLower>(
    cx: &mut C,
    from: &mut Arrivals,
    ptr: u64,
    elem_type: &Type,
) -> Result<(), Error> {
    if number_size(elem_type).is_some() {
        let bytes = from.bytes()?;
        valid_range_mut(cx.memory_mut()?, ptr, bytes.len() as u64)?.copy_from_slice(&bytes);
        return Ok(());
    }
    let length = from.word()?;
    store_elements(cx, from, length, ptr, elem_type)
}

fn store_elements<C: LiftLower>(
    cx: &mut C,
    from: &mut Arrivals,
    length: u64,
    ptr: u64,
    elem_type: &Type,
) -> Result<(), Error> {
    let elem_size = elem_size(elem_type, cx.ptr_type());
    if !elem_type.contents().plain {
        let mut elements = 0..length;
        return elements.try_for_each(|i| store(cx, from, elem_type, ptr + i * elem_size));
    }
    let byte_length = length.saturating_mul(elem_size);
    let out = valid_range_mut(cx.memory_mut()?, ptr, byte_length)?;
    let Ok(elem_size) = usize::try_from(elem_size) else {
        return Err(bug!("an element of {elem_size} bytes"));
    };
    let mut elements = out.chunks_exact_mut(elem_size.max(1));
    elements.try_for_each(|element| store_plain(element, from, elem_type))
}

/// A map is in memory a list of pairs. Returns the pointer and the length.
pub(crate) fn store_map_into_range<C: LiftLower>(
    cx: &mut C,
    from: &mut Arrivals,
    map: &Map,
) -> Result<(u64, u64), Error> {
    let pair = map.layout(cx.ptr_type());
    let [key_offset, value_offset] = *pair.offsets else {
        return Err(bug!("a map of {} parts", pair.offsets.len()));
    };
    let length = from.word()?;
    let byte_length = length.saturating_mul(pair.layout.size);
    let begin = allocate(cx, pair.layout.alignment, byte_length, Content::List)?;
    for i in 0..length {
        let ptr = begin + i * pair.layout.size;
        store(cx, from, map.key(), ptr + key_offset)?;
        store(cx, from, map.value(), ptr + value_offset)?;
    }
    Ok((begin, length))
}

/// The spec's `store_record`, for types without labels.
pub(crate) fn store_tuple<C: LiftLower>(
    cx: &mut C,
    from: &mut Arrivals,
    types: &[Type],
    offsets: &[u64],
    ptr: u64,
) -> Result<(), Error> {
    let mut types = types.iter().zip(offsets);
    types.try_for_each(|(t, offset)| store(cx, from, t, ptr + offset))
}

fn store_variant<C: LiftLower>(
    cx: &mut C,
    from: &mut Arrivals,
    t: &Type,
    ptr: u64,
) -> Result<(), Error> {
    let Some(layout) = variant_layout(t, cx.ptr_type()) else {
        return Err(bug!("{t} is not a variant"));
    };
    let case_index = from.case()?;
    let disc_size = u64::from(layout.discriminant_size);
    store_int(cx, u64::from(case_index), ptr, disc_size)?;
    match case_type(t, case_index) {
        Some(t) => store(cx, from, t, ptr + layout.payload_offset),
        None => Ok(()),
    }
}

/// None when a name is not that of a flag.
pub(crate) fn pack_flags_into_int(set: &[Name], flags: &Flags) -> Option<u64> {
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

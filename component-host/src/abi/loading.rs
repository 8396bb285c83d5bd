//! Spec: ## Loading
//!
//! Pointers and lengths come from the guest: whatever they are, they are checked before anything
//! is read or allocated. Once the range of a value is checked, so are those of its parts.

use super::alignment::alignment;
use super::despecialization::{case_type, lift_case, variant_layout};
use super::element_size::{align_to, elem_size};
use super::options::{LiftLower, Peer, PtrType, ptr_size};
use crate::component::definitions::StringEncoding;
use crate::error::{Error, bug, trap_if};
use crate::trap::Trap;
use crate::types::{Flags, Map, Name, Type};
use crate::val::{SourceEncoding, Text, Val};
use std::char::DecodeUtf16Error;
use std::ops::Range;

pub(crate) fn load<C: LiftLower>(cx: &mut C, ptr: u64, t: &Type) -> Result<Val, Error> {
    match t {
        Type::String => load_string(cx, ptr),
        Type::List(list) => {
            let (begin, length) = load_pair(cx, ptr)?;
            load_list_from_range(cx, begin, length, list.ty())
        }
        Type::FixedLengthList(list) => {
            load_list_from_valid_range(cx, ptr, u64::from(list.size()), list.ty())
        }
        Type::Map(map) => {
            let (begin, length) = load_pair(cx, ptr)?;
            load_map_from_range(cx, begin, length, map)
        }
        Type::Record(record) => {
            let offsets = &record.layout(cx.ptr_type()).offsets;
            charge_for::<(Name, Val)>(cx, offsets.len() as u64)?;
            let fields = record.named_fields().iter().zip(offsets);
            let fields = fields.map(|((name, field), offset)| {
                Ok((Name::clone(name), load(cx, ptr + offset, field)?))
            });
            Ok(Val::Record(fields.collect::<Result<_, Error>>()?))
        }
        Type::Tuple(tuple) => {
            let offsets = &tuple.layout(cx.ptr_type()).offsets;
            Ok(Val::Tuple(load_tuple(cx, ptr, tuple.types(), offsets)?))
        }
        Type::Variant(_) | Type::Enum(_) | Type::Option(_) | Type::Result(_) => {
            load_variant(cx, ptr, t)
        }
        _ => {
            let bits = load_int(cx, ptr, elem_size(t, cx.ptr_type()))?;
            lift_scalar(cx, bits, t)
        }
    }
}

/// A value whose flat form is one core value, from the bits in memory or in that core value.
///
/// Bits beyond the width of the type are ignored: a flat `u8` is an `i32` of which the guest may
/// have set any bit.
pub(crate) fn lift_scalar<C: LiftLower>(cx: &mut C, bits: u64, t: &Type) -> Result<Val, Error> {
    Ok(match t {
        Type::Bool => Val::Bool(convert_int_to_bool(bits)),
        Type::U8 => Val::U8(bits as u8),
        Type::U16 => Val::U16(bits as u16),
        Type::U32 => Val::U32(bits as u32),
        Type::U64 => Val::U64(bits),
        Type::S8 => Val::S8(bits as i8),
        Type::S16 => Val::S16(bits as i16),
        Type::S32 => Val::S32(bits as i32),
        Type::S64 => Val::S64(bits as i64),
        Type::Float32 => Val::Float32(decode_i32_as_float(bits as u32)),
        Type::Float64 => Val::Float64(decode_i64_as_float(bits)),
        Type::Char => Val::Char(convert_i32_to_char(bits as u32)?),
        Type::Flags(flags) => unpack_flags_from_int(cx, bits, flags)?,
        Type::Own(rt) => Val::Resource(cx.lift_own(bits as u32, *rt)?),
        Type::Borrow(rt) => Val::Resource(cx.lift_borrow(bits as u32, *rt)?),
        Type::Stream(t) => cx.lift_stream(bits as u32, t.as_deref())?,
        Type::Future(t) => cx.lift_future(bits as u32, t.as_deref())?,
        Type::ErrorContext => Val::ErrorContext(cx.lift_error_context(bits as u32)?),
        _ => return Err(bug!("{t} is not one core value")),
    })
}

/// At most eight bytes, little-endian, zero-extended.
pub(crate) fn load_int<C: LiftLower>(cx: &C, ptr: u64, nbytes: u64) -> Result<u64, Error> {
    let bytes = valid_range(cx.memory()?, ptr, nbytes)?;
    let mut int = [0; 8];
    match int.get_mut(..bytes.len()) {
        Some(low) => low.copy_from_slice(bytes),
        None => return Err(bug!("an integer of {nbytes} bytes")),
    }
    Ok(u64::from_le_bytes(int))
}

/// A pointer and a length, as strings and lists are in memory.
fn load_pair<C: LiftLower>(cx: &C, ptr: u64) -> Result<(u64, u64), Error> {
    let size = u64::from(ptr_size(cx.ptr_type()));
    Ok((load_int(cx, ptr, size)?, load_int(cx, ptr + size, size)?))
}

/// Any bit makes an `i32` true; only the width of a core `i32` was read.
fn convert_int_to_bool(i: u64) -> bool {
    i != 0
}

const CANONICAL_FLOAT32_NAN: u32 = 0x7fc0_0000;
const CANONICAL_FLOAT64_NAN: u64 = 0x7ff8_0000_0000_0000;

/// There is one NaN in the component model. When it is lowered the specification lets any one be
/// chosen; we choose this one again, so that runs can be repeated.
pub(crate) fn canonicalize_nan32(f: f32) -> f32 {
    match f.is_nan() {
        true => f32::from_bits(CANONICAL_FLOAT32_NAN),
        false => f,
    }
}

pub(crate) fn canonicalize_nan64(f: f64) -> f64 {
    match f.is_nan() {
        true => f64::from_bits(CANONICAL_FLOAT64_NAN),
        false => f,
    }
}

fn decode_i32_as_float(i: u32) -> f32 {
    canonicalize_nan32(f32::from_bits(i))
}

fn decode_i64_as_float(i: u64) -> f64 {
    canonicalize_nan64(f64::from_bits(i))
}

fn convert_i32_to_char(i: u32) -> Result<char, Error> {
    char::from_u32(i).ok_or_else(|| Error::from(Trap::InvalidChar(i)))
}

fn load_string<C: LiftLower>(cx: &mut C, ptr: u64) -> Result<Val, Error> {
    let (begin, tagged_code_units) = load_pair(cx, ptr)?;
    load_string_from_range(cx, begin, tagged_code_units)
}

pub(crate) fn utf16_tag(ptr_type: PtrType) -> u64 {
    1 << (ptr_size(ptr_type) * 8 - 1)
}

/// The most that `realloc` can be asked for. (CanonicalABI.md, "Loading")
pub(crate) const REALLOC_I32_MAX: u64 = (1 << 32) - 1;

/// The longest string that can be lifted, in bytes. (CanonicalABI.md, "Loading")
pub(crate) const MAX_STRING_BYTE_LENGTH: u64 = (1 << 28) - 1;
const _: () = assert!(REALLOC_I32_MAX > 2 * MAX_STRING_BYTE_LENGTH);

pub(crate) fn load_string_from_range<C: LiftLower>(
    cx: &mut C,
    ptr: u64,
    tagged_code_units: u64,
) -> Result<Val, Error> {
    let tag = utf16_tag(cx.ptr_type());
    let tagged = tagged_code_units & tag != 0;
    let (source, code_units) = match cx.string_encoding() {
        StringEncoding::Utf8 => (SourceEncoding::Utf8, tagged_code_units),
        StringEncoding::Utf16 => (SourceEncoding::Utf16, tagged_code_units),
        StringEncoding::Latin1Utf16 if tagged => {
            (SourceEncoding::TaggedUtf16, tagged_code_units ^ tag)
        }
        StringEncoding::Latin1Utf16 => (SourceEncoding::Latin1, tagged_code_units),
    };
    let (alignment, code_unit_size) = match source {
        SourceEncoding::Utf8 => (1, 1),
        SourceEncoding::Latin1 => (2, 1),
        SourceEncoding::Utf16 | SourceEncoding::TaggedUtf16 => (2, 2),
    };
    let byte_length = code_units.saturating_mul(code_unit_size);

    let (too_long, out_of_bounds) = match cx.peer() {
        Peer::Host => (Trap::StringTooLong, Trap::StringOutOfBounds),
        Peer::Guest => (
            Trap::StringContentOutOfBounds,
            Trap::StringContentOutOfBounds,
        ),
    };
    trap_if!(byte_length > MAX_STRING_BYTE_LENGTH, too_long);
    trap_if!(!is_aligned(ptr, alignment), Trap::UnalignedPointer);
    trap_if!(!in_bounds(cx.memory()?, ptr, byte_length), out_of_bounds);
    let content = match source {
        SourceEncoding::Utf8 => decode_utf8(cx, ptr, byte_length)?,
        SourceEncoding::Latin1 => decode_latin1(cx, ptr, byte_length)?,
        SourceEncoding::Utf16 | SourceEncoding::TaggedUtf16 => decode_utf16(cx, ptr, byte_length)?,
    };
    Ok(Val::String(Text::new(content, source)))
}

fn decode_utf8<C: LiftLower>(cx: &mut C, ptr: u64, byte_length: u64) -> Result<String, Error> {
    cx.charge(byte_length)?;
    match str::from_utf8(valid_range(cx.memory()?, ptr, byte_length)?) {
        Ok(content) => Ok(content.to_owned()),
        Err(error) => Err(Trap::InvalidUtf8(error.to_string()).into()),
    }
}

fn decode_latin1<C: LiftLower>(cx: &mut C, ptr: u64, byte_length: u64) -> Result<String, Error> {
    let bytes = valid_range(cx.memory()?, ptr, byte_length)?;
    let utf8_length = bytes.len() + bytes.iter().filter(|byte| !byte.is_ascii()).count();
    cx.charge(utf8_length as u64)?;
    let mut content = String::with_capacity(utf8_length);
    let bytes = valid_range(cx.memory()?, ptr, byte_length)?;
    content.extend(bytes.iter().map(|byte| char::from(*byte)));
    Ok(content)
}

fn decode_utf16<C: LiftLower>(cx: &mut C, ptr: u64, byte_length: u64) -> Result<String, Error> {
    fn decode(bytes: &[u8]) -> impl Iterator<Item = Result<char, DecodeUtf16Error>> {
        let (units, _) = bytes.as_chunks::<2>();
        char::decode_utf16(units.iter().map(|unit| u16::from_le_bytes(*unit)))
    }
    let mut utf8_length = 0;
    for c in decode(valid_range(cx.memory()?, ptr, byte_length)?) {
        utf8_length += c.map_err(|_| Trap::InvalidUtf16)?.len_utf8();
    }
    cx.charge(utf8_length as u64)?;
    let mut content = String::with_capacity(utf8_length);
    // No surrogate is left unpaired: the loop above looked.
    content.extend(decode(valid_range(cx.memory()?, ptr, byte_length)?).flatten());
    Ok(content)
}

/// The longest list that can be lifted, in bytes. (CanonicalABI.md, "Loading")
pub(crate) const MAX_LIST_BYTE_LENGTH: u64 = (1 << 28) - 1;
const _: () = assert!(REALLOC_I32_MAX > 2 * MAX_LIST_BYTE_LENGTH);

pub(crate) fn load_list_from_range<C: LiftLower>(
    cx: &mut C,
    ptr: u64,
    length: u64,
    elem_type: &Type,
) -> Result<Val, Error> {
    let elem_size = elem_size(elem_type, cx.ptr_type());
    let alignment = alignment(elem_type, cx.ptr_type());
    check_list_range(cx, ptr, length, elem_size, alignment)?;
    load_list_from_valid_range(cx, ptr, length, elem_type)
}

fn check_list_range<C: LiftLower>(
    cx: &C,
    ptr: u64,
    length: u64,
    elem_size: u64,
    alignment: u32,
) -> Result<(), Error> {
    // Every type has a size; were there one without, its lists would be bounded all the same.
    let byte_length = length.saturating_mul(elem_size.max(1));
    trap_if!(byte_length > MAX_LIST_BYTE_LENGTH, Trap::ListTooLong);
    trap_if!(!is_aligned(ptr, alignment), Trap::UnalignedPointer);
    trap_if!(
        !in_bounds(cx.memory()?, ptr, byte_length),
        Trap::ListOutOfBounds
    );
    Ok(())
}

/// The elements at a range that is aligned and within memory; also what a stream's buffer holds.
pub(crate) fn load_list_from_valid_range<C: LiftLower>(
    cx: &mut C,
    ptr: u64,
    length: u64,
    elem_type: &Type,
) -> Result<Val, Error> {
    charge_for::<Val>(cx, length)?;
    let elem_size = elem_size(elem_type, cx.ptr_type());
    let bytes = valid_range(cx.memory()?, ptr, length.saturating_mul(elem_size))?;
    if let Some(numbers) = load_numbers(bytes, elem_type) {
        return Ok(Val::List(numbers));
    }
    let elements = (0..length).map(|i| load(cx, ptr + i * elem_size, elem_type));
    Ok(Val::List(elements.collect::<Result<_, Error>>()?))
}

/// The short way for elements that are numbers; none when they are not.
fn load_numbers(bytes: &[u8], elem_type: &Type) -> Option<Vec<Val>> {
    fn unpack<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> Val) -> Vec<Val> {
        let (numbers, _) = bytes.as_chunks::<N>();
        numbers.iter().map(|bytes| number(*bytes)).collect()
    }
    Some(match elem_type {
        Type::U8 => unpack(bytes, |[byte]| Val::U8(byte)),
        Type::S8 => unpack(bytes, |bytes| Val::S8(i8::from_le_bytes(bytes))),
        Type::U16 => unpack(bytes, |bytes| Val::U16(u16::from_le_bytes(bytes))),
        Type::S16 => unpack(bytes, |bytes| Val::S16(i16::from_le_bytes(bytes))),
        Type::U32 => unpack(bytes, |bytes| Val::U32(u32::from_le_bytes(bytes))),
        Type::S32 => unpack(bytes, |bytes| Val::S32(i32::from_le_bytes(bytes))),
        Type::U64 => unpack(bytes, |bytes| Val::U64(u64::from_le_bytes(bytes))),
        Type::S64 => unpack(bytes, |bytes| Val::S64(i64::from_le_bytes(bytes))),
        Type::Float32 => unpack(bytes, |bytes| {
            Val::Float32(canonicalize_nan32(f32::from_le_bytes(bytes)))
        }),
        Type::Float64 => unpack(bytes, |bytes| {
            Val::Float64(canonicalize_nan64(f64::from_le_bytes(bytes)))
        }),
        _ => return None,
    })
}

/// A map is in memory a list of pairs; a key may be there twice, which is for the reader to judge.
pub(crate) fn load_map_from_range<C: LiftLower>(
    cx: &mut C,
    ptr: u64,
    length: u64,
    map: &Map,
) -> Result<Val, Error> {
    let pair = map.layout(cx.ptr_type());
    let [key_offset, value_offset] = *pair.offsets else {
        return Err(bug!("a map of {} parts", pair.offsets.len()));
    };
    check_list_range(cx, ptr, length, pair.layout.size, pair.layout.alignment)?;
    charge_for::<(Val, Val)>(cx, length)?;
    let entries = (0..length).map(|i| {
        let ptr = ptr + i * pair.layout.size;
        let key = load(cx, ptr + key_offset, map.key())?;
        Ok((key, load(cx, ptr + value_offset, map.value())?))
    });
    Ok(Val::Map(entries.collect::<Result<_, Error>>()?))
}

/// The spec's `load_record`, for types without labels.
pub(crate) fn load_tuple<C: LiftLower>(
    cx: &mut C,
    ptr: u64,
    types: &[Type],
    offsets: &[u64],
) -> Result<Vec<Val>, Error> {
    charge_for::<Val>(cx, types.len() as u64)?;
    let types = types.iter().zip(offsets);
    types.map(|(t, offset)| load(cx, ptr + offset, t)).collect()
}

fn load_variant<C: LiftLower>(cx: &mut C, ptr: u64, t: &Type) -> Result<Val, Error> {
    let Some(layout) = variant_layout(t, cx.ptr_type()) else {
        return Err(bug!("{t} is not a variant"));
    };
    let case_index = load_int(cx, ptr, u64::from(layout.discriminant_size))? as u32;
    trap_if!(
        case_index >= layout.case_count,
        Trap::InvalidDiscriminant(case_index)
    );
    let payload = match case_type(t, case_index) {
        Some(payload) => Some(load(cx, ptr + layout.payload_offset, payload)?),
        None => None,
    };
    lift_case(cx, t, case_index, payload)
}

fn unpack_flags_from_int<C: LiftLower>(cx: &mut C, i: u64, flags: &Flags) -> Result<Val, Error> {
    let names = flags.shared_names();
    charge_for::<Name>(cx, names.len() as u64)?;
    let set = names.iter().enumerate();
    let set = set.filter(|(bit, _)| i.checked_shr(*bit as u32).unwrap_or(0) & 1 == 1);
    Ok(Val::Flags(set.map(|(_, name)| Name::clone(name)).collect()))
}

/// Charges the call for `count` values on the heap.
pub(crate) fn charge_for<T>(cx: &mut impl LiftLower, count: u64) -> Result<(), Error> {
    cx.charge(count.saturating_mul(size_of::<T>() as u64))
}

pub(crate) fn is_aligned(ptr: u64, alignment: u32) -> bool {
    ptr == align_to(ptr, alignment)
}

pub(crate) fn in_bounds(memory: &[u8], ptr: u64, byte_length: u64) -> bool {
    range(ptr, byte_length).is_some_and(|range| range.end <= memory.len())
}

/// The bytes of a range that was checked before.
pub(crate) fn valid_range(memory: &[u8], ptr: u64, byte_length: u64) -> Result<&[u8], Error> {
    let bytes = range(ptr, byte_length).and_then(|range| memory.get(range));
    bytes.ok_or_else(|| out_of_valid_range(ptr, byte_length))
}

/// The bytes of a range that was checked before, to be written.
pub(crate) fn valid_range_mut(
    memory: &mut [u8],
    ptr: u64,
    byte_length: u64,
) -> Result<&mut [u8], Error> {
    let bytes = range(ptr, byte_length).and_then(|range| memory.get_mut(range));
    bytes.ok_or_else(|| out_of_valid_range(ptr, byte_length))
}

fn range(ptr: u64, byte_length: u64) -> Option<Range<usize>> {
    let end = usize::try_from(ptr.checked_add(byte_length)?).ok()?;
    Some(usize::try_from(ptr).ok()?..end)
}

fn out_of_valid_range(ptr: u64, byte_length: u64) -> Error {
    bug!("{byte_length} bytes at {ptr:#x} were not checked to be within memory")
}

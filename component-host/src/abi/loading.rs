//! Spec: ## Loading
//!
//! Pointers and lengths come from the guest: whatever they are, they are checked before anything
//! is read or allocated. Once the range of a value is checked, so are those of its parts.

use super::alignment::alignment;
use super::despecialization::{case_type, variant_layout};
use super::element_size::{align_to, elem_size};
use super::layout::VariantLayout;
use super::options::{LiftLower, Peer, PtrType, ptr_size};
use crate::component::definitions::StringEncoding;
use crate::error::{Error, bug, trap_if};
use crate::transit::{Transit, number_size};
use crate::trap::Trap;
use crate::types::{Contents, Map, Type};
use crate::val::{SourceEncoding, Text, Val};
use std::char::DecodeUtf16Error;
use std::ops::Range;

/// Loads a value whose range was checked, and adds it to `out`. What it takes there was charged
/// with the list or the parameters that it belongs to.
pub(crate) fn load<C: LiftLower>(
    cx: &mut C,
    ptr: u64,
    t: &Type,
    out: &mut Transit,
) -> Result<(), Error> {
    if t.contents().plain {
        let ptr_type = cx.ptr_type();
        let bytes = valid_range(cx.memory()?, ptr, elem_size(t, ptr_type))?;
        return load_plain(bytes, t, out);
    }
    match t {
        Type::String => {
            let (begin, tagged_code_units) = load_pair(cx, ptr)?;
            out.text(load_string_from_range(cx, begin, tagged_code_units)?);
            Ok(())
        }
        Type::List(list) => {
            let (begin, length) = load_pair(cx, ptr)?;
            load_list_from_range(cx, begin, length, list.ty(), out)
        }
        Type::FixedLengthList(list) => {
            load_elements(cx, ptr, u64::from(list.size()), list.ty(), out)
        }
        Type::Map(map) => {
            let (begin, length) = load_pair(cx, ptr)?;
            load_map_from_range(cx, begin, length, map, out)
        }
        Type::Record(record) => {
            let offsets = &record.layout(cx.ptr_type()).offsets;
            let fields = record.named_fields().iter().zip(offsets);
            for ((_, field), offset) in fields {
                load(cx, ptr + offset, field, out)?;
            }
            Ok(())
        }
        Type::Tuple(tuple) => {
            let offsets = &tuple.layout(cx.ptr_type()).offsets;
            load_tuple(cx, ptr, tuple.types(), offsets, out)
        }
        Type::Variant(_) | Type::Enum(_) | Type::Option(_) | Type::Result(_) => {
            load_variant(cx, ptr, t, out)
        }
        _ => {
            let bits = load_int(cx, ptr, elem_size(t, cx.ptr_type()))?;
            lift_scalar(cx, bits, t, out)
        }
    }
}

/// A value whose flat form is one core value, from the bits in memory or in that core value.
///
/// Bits beyond the width of the type are ignored: a flat `u8` is an `i32` of which the guest may
/// have set any bit.
pub(crate) fn lift_scalar<C: LiftLower>(
    cx: &mut C,
    bits: u64,
    t: &Type,
    out: &mut Transit,
) -> Result<(), Error> {
    match t {
        Type::Own(rt) => out.handle(Val::Resource(cx.lift_own(bits as u32, *rt)?), t),
        Type::Borrow(rt) => out.handle(Val::Resource(cx.lift_borrow(bits as u32, *rt)?), t),
        Type::Stream(payload) => out.handle(cx.lift_stream(bits as u32, payload.as_deref())?, t),
        Type::Future(payload) => out.handle(cx.lift_future(bits as u32, payload.as_deref())?, t),
        Type::ErrorContext => {
            let error_context = cx.lift_error_context(bits as u32)?;
            out.handle(Val::ErrorContext(error_context), t);
        }
        _ => out.word(lift_number(bits, t)?),
    }
    Ok(())
}

/// The word of a number, a truth value, a character or flags.
pub(crate) fn lift_number(bits: u64, t: &Type) -> Result<u64, Error> {
    Ok(match t {
        // Any bit makes an `i32` true; only the width of a core `i32` was read.
        Type::Bool => u64::from(bits != 0),
        Type::U8 | Type::S8 => u64::from(bits as u8),
        Type::U16 | Type::S16 => u64::from(bits as u16),
        Type::U32 | Type::S32 => u64::from(bits as u32),
        Type::U64 | Type::S64 => bits,
        Type::Float32 => u64::from(canonicalize_nan32(f32::from_bits(bits as u32)).to_bits()),
        Type::Float64 => canonicalize_nan64(f64::from_bits(bits)).to_bits(),
        Type::Char => u64::from(convert_i32_to_char(bits as u32)?),
        // Bits without a name mean nothing.
        Type::Flags(flags) => match 1_u64.checked_shl(flags.shared_names().len() as u32) {
            Some(end) => bits & (end - 1),
            None => bits,
        },
        _ => return Err(bug!("{t} is not one number")),
    })
}

/// Loads a value without pointers and handles from the bytes that are all of it. Such bytes are
/// laid out alike in every memory.
fn load_plain(bytes: &[u8], t: &Type, out: &mut Transit) -> Result<(), Error> {
    const LAYOUT: PtrType = PtrType::I32;
    match t {
        Type::Record(record) => {
            let offsets = &record.layout(LAYOUT).offsets;
            for ((_, field), offset) in record.named_fields().iter().zip(offsets) {
                load_plain(after(bytes, *offset)?, field, out)?;
            }
            Ok(())
        }
        Type::Tuple(tuple) => {
            let offsets = &tuple.layout(LAYOUT).offsets;
            for (t, offset) in tuple.types().iter().zip(offsets) {
                load_plain(after(bytes, *offset)?, t, out)?;
            }
            Ok(())
        }
        Type::FixedLengthList(list) => {
            let size = elem_size(list.ty(), LAYOUT);
            for i in 0..u64::from(list.size()) {
                load_plain(after(bytes, i * size)?, list.ty(), out)?;
            }
            Ok(())
        }
        Type::Variant(_) | Type::Enum(_) | Type::Option(_) | Type::Result(_) => {
            let Some(layout) = variant_layout(t, LAYOUT) else {
                return Err(bug!("{t} is not a variant"));
            };
            let case_index = read_int(bytes, u64::from(layout.discriminant_size))? as u32;
            let payload = lift_discriminant(t, case_index, layout, out)?;
            match payload {
                Some(payload) => load_plain(after(bytes, layout.payload_offset)?, payload, out),
                None => Ok(()),
            }
        }
        _ => {
            out.word(match whole_number(bytes, t) {
                Some(word) => word,
                None => lift_number(read_int(bytes, elem_size(t, LAYOUT))?, t)?,
            });
            Ok(())
        }
    }
}

/// The word of a number of whose type all bytes are values: most are, and need no more than this.
fn whole_number(bytes: &[u8], t: &Type) -> Option<u64> {
    Some(match t {
        Type::U8 | Type::S8 => u64::from(*bytes.first()?),
        Type::U16 | Type::S16 => u64::from(u16::from_le_bytes(*bytes.first_chunk()?)),
        Type::U32 | Type::S32 => u64::from(u32::from_le_bytes(*bytes.first_chunk()?)),
        Type::U64 | Type::S64 => u64::from_le_bytes(*bytes.first_chunk()?),
        Type::Float64 => canonicalize_nan64(f64::from_le_bytes(*bytes.first_chunk()?)).to_bits(),
        _ => return None,
    })
}

/// Checks a discriminant, and gives the type of the payload that follows.
pub(crate) fn lift_discriminant<'t>(
    t: &'t Type,
    case_index: u32,
    layout: &VariantLayout,
    out: &mut Transit,
) -> Result<Option<&'t Type>, Error> {
    trap_if!(
        case_index >= layout.case_count,
        Trap::InvalidDiscriminant(case_index)
    );
    out.word(u64::from(case_index));
    Ok(case_type(t, case_index))
}

fn after(bytes: &[u8], offset: u64) -> Result<&[u8], Error> {
    let after = usize::try_from(offset).ok();
    let after = after.and_then(|offset| bytes.get(offset..));
    after.ok_or_else(|| bug!("{offset} is beyond the value's {} bytes", bytes.len()))
}

/// The first bytes, little-endian, zero-extended.
fn read_int(bytes: &[u8], nbytes: u64) -> Result<u64, Error> {
    fn first<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.first_chunk().copied()
    }
    let int = match nbytes {
        1 => first(bytes).map(|[byte]| u64::from(byte)),
        2 => first(bytes).map(|bytes| u64::from(u16::from_le_bytes(bytes))),
        4 => first(bytes).map(|bytes| u64::from(u32::from_le_bytes(bytes))),
        8 => first(bytes).map(u64::from_le_bytes),
        _ => None,
    };
    int.ok_or_else(|| {
        bug!(
            "an integer of {nbytes} bytes, of which {} are there",
            bytes.len()
        )
    })
}

/// At most eight bytes, little-endian, zero-extended.
pub(crate) fn load_int<C: LiftLower>(cx: &C, ptr: u64, nbytes: u64) -> Result<u64, Error> {
    read_int(valid_range(cx.memory()?, ptr, nbytes)?, nbytes)
}

/// A pointer and a length, as strings and lists are in memory.
fn load_pair<C: LiftLower>(cx: &C, ptr: u64) -> Result<(u64, u64), Error> {
    let size = u64::from(ptr_size(cx.ptr_type()));
    Ok((load_int(cx, ptr, size)?, load_int(cx, ptr + size, size)?))
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

fn convert_i32_to_char(i: u32) -> Result<char, Error> {
    char::from_u32(i).ok_or_else(|| Error::from(Trap::InvalidChar(i)))
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
) -> Result<Text, Error> {
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
    Ok(Text::decoded(content, source, code_units))
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
    out: &mut Transit,
) -> Result<(), Error> {
    let elem_size = elem_size(elem_type, cx.ptr_type());
    let alignment = alignment(elem_type, cx.ptr_type());
    check_list_range(cx, ptr, length, elem_size, alignment)?;
    load_list_from_valid_range(cx, ptr, length, elem_type, out)
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

/// The list at a range that is aligned and within memory; also what a stream's buffer holds.
pub(crate) fn load_list_from_valid_range<C: LiftLower>(
    cx: &mut C,
    ptr: u64,
    length: u64,
    elem_type: &Type,
    out: &mut Transit,
) -> Result<(), Error> {
    if let Some(size) = number_size(elem_type) {
        let byte_length = length.saturating_mul(size as u64);
        cx.charge(byte_length)?;
        cx.charge_tree(length.saturating_mul(elem_type.contents().tree))?;
        let mut bytes = valid_range(cx.memory()?, ptr, byte_length)?.to_vec();
        canonicalize_nans(&mut bytes, elem_type);
        out.bytes(bytes);
        return Ok(());
    }
    charge_elements(cx, length, &elem_type.contents())?;
    out.word(length);
    load_elements(cx, ptr, length, elem_type, out)
}

/// Elements that were charged, at a range that is aligned and within memory.
fn load_elements<C: LiftLower>(
    cx: &mut C,
    ptr: u64,
    length: u64,
    elem_type: &Type,
    out: &mut Transit,
) -> Result<(), Error> {
    let elem_size = elem_size(elem_type, cx.ptr_type());
    let contents = elem_type.contents();
    if !contents.plain {
        return (0..length).try_for_each(|i| load(cx, ptr + i * elem_size, elem_type, out));
    }
    let bytes = valid_range(cx.memory()?, ptr, length.saturating_mul(elem_size))?;
    out.reserve((length.saturating_mul(contents.weight) / 8) as usize);
    let Ok(elem_size) = usize::try_from(elem_size) else {
        return Err(bug!("an element of {elem_size} bytes"));
    };
    let mut elements = bytes.chunks_exact(elem_size.max(1));
    elements.try_for_each(|element| load_plain(element, elem_type, out))
}

/// There is one NaN in the component model, in lists too.
pub(crate) fn canonicalize_nans(bytes: &mut [u8], elem_type: &Type) {
    match elem_type {
        Type::Float32 => {
            let (floats, _) = bytes.as_chunks_mut();
            for float in floats {
                *float = canonicalize_nan32(f32::from_le_bytes(*float)).to_le_bytes();
            }
        }
        Type::Float64 => {
            let (floats, _) = bytes.as_chunks_mut();
            for float in floats {
                *float = canonicalize_nan64(f64::from_le_bytes(*float)).to_le_bytes();
            }
        }
        _ => {}
    }
}

/// Charges the call for so many values, before the host allocates for them.
pub(crate) fn charge_elements<C: LiftLower>(
    cx: &mut C,
    count: u64,
    each: &Contents,
) -> Result<(), Error> {
    cx.charge(count.saturating_mul(each.weight))?;
    cx.charge_tree(count.saturating_mul(each.tree))
}

/// A map is in memory a list of pairs; a key may be there twice, which is for the reader to judge.
pub(crate) fn load_map_from_range<C: LiftLower>(
    cx: &mut C,
    ptr: u64,
    length: u64,
    map: &Map,
    out: &mut Transit,
) -> Result<(), Error> {
    let pair = map.layout(cx.ptr_type());
    let [key_offset, value_offset] = *pair.offsets else {
        return Err(bug!("a map of {} parts", pair.offsets.len()));
    };
    check_list_range(cx, ptr, length, pair.layout.size, pair.layout.alignment)?;
    charge_elements(cx, length, &map.pair_contents())?;
    out.word(length);
    for i in 0..length {
        let ptr = ptr + i * pair.layout.size;
        load(cx, ptr + key_offset, map.key(), out)?;
        load(cx, ptr + value_offset, map.value(), out)?;
    }
    Ok(())
}

/// The spec's `load_record`, for types without labels.
pub(crate) fn load_tuple<C: LiftLower>(
    cx: &mut C,
    ptr: u64,
    types: &[Type],
    offsets: &[u64],
    out: &mut Transit,
) -> Result<(), Error> {
    let mut types = types.iter().zip(offsets);
    types.try_for_each(|(t, offset)| load(cx, ptr + offset, t, out))
}

fn load_variant<C: LiftLower>(
    cx: &mut C,
    ptr: u64,
    t: &Type,
    out: &mut Transit,
) -> Result<(), Error> {
    let Some(layout) = variant_layout(t, cx.ptr_type()) else {
        return Err(bug!("{t} is not a variant"));
    };
    let case_index = load_int(cx, ptr, u64::from(layout.discriminant_size))? as u32;
    match lift_discriminant(t, case_index, layout, out)? {
        Some(payload) => load(cx, ptr + layout.payload_offset, payload, out),
        None => Ok(()),
    }
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

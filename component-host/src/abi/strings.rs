//! Spec: ## Storing, its part on strings: from the encoding they had to the one that is asked for.
//!
//! A guest sees which sizes its `realloc` is asked for, in which order, so all of that is the
//! specification's: it first asks for what the string takes if every code unit stays one, then for
//! the worst case, then gives back what was too much.

use super::loading::{utf16_tag, valid_range_mut};
use super::options::LiftLower;
use super::storing::{Content, allocate, reallocate};
use crate::component::definitions::StringEncoding;
use crate::error::{Error, bug};
use crate::val::{SourceEncoding, Text};

/// Returns the pointer and the tagged number of code units.
pub(crate) fn store_string_into_range<C: LiftLower>(
    cx: &mut C,
    v: &Text,
) -> Result<(u64, u64), Error> {
    let src = v.as_str();
    let src_code_units = v.source_code_units();
    match (cx.string_encoding(), v.source()) {
        (StringEncoding::Utf8, SourceEncoding::Utf8) => {
            store_string_copy(cx, src, src_code_units, 1, 1, write_utf8)
        }
        (StringEncoding::Utf8, SourceEncoding::Utf16 | SourceEncoding::TaggedUtf16) => {
            store_utf16_to_utf8(cx, src, src_code_units)
        }
        (StringEncoding::Utf8, SourceEncoding::Latin1) => {
            store_latin1_to_utf8(cx, src, src_code_units)
        }
        (StringEncoding::Utf16, SourceEncoding::Utf8) => {
            store_utf8_to_utf16(cx, src, src_code_units)
        }
        (StringEncoding::Utf16, _) => store_string_copy(cx, src, src_code_units, 2, 2, write_utf16),
        (StringEncoding::Latin1Utf16, SourceEncoding::Utf8 | SourceEncoding::Utf16) => {
            store_string_to_latin1_or_utf16(cx, src, src_code_units)
        }
        (StringEncoding::Latin1Utf16, SourceEncoding::Latin1) => {
            store_string_copy(cx, src, src_code_units, 1, 2, write_latin1)
        }
        (StringEncoding::Latin1Utf16, SourceEncoding::TaggedUtf16) => {
            store_probably_utf16_to_latin1_or_utf16(cx, src, src_code_units)
        }
    }
}

fn store_string_copy<C: LiftLower>(
    cx: &mut C,
    src: &str,
    src_code_units: u64,
    dst_code_unit_size: u64,
    dst_alignment: u32,
    write: fn(&str, &mut [u8]) -> Result<(), Error>,
) -> Result<(u64, u64), Error> {
    let dst_byte_length = dst_code_unit_size.saturating_mul(src_code_units);
    let ptr = allocate(cx, dst_alignment, dst_byte_length, Content::String)?;
    write(
        src,
        valid_range_mut(cx.memory_mut()?, ptr, dst_byte_length)?,
    )?;
    Ok((ptr, src_code_units))
}

fn store_utf16_to_utf8<C: LiftLower>(
    cx: &mut C,
    src: &str,
    src_code_units: u64,
) -> Result<(u64, u64), Error> {
    let worst_case_size = src_code_units.saturating_mul(3);
    store_string_to_utf8(cx, src, src_code_units, worst_case_size)
}

fn store_latin1_to_utf8<C: LiftLower>(
    cx: &mut C,
    src: &str,
    src_code_units: u64,
) -> Result<(u64, u64), Error> {
    let worst_case_size = src_code_units.saturating_mul(2);
    store_string_to_utf8(cx, src, src_code_units, worst_case_size)
}

fn store_string_to_utf8<C: LiftLower>(
    cx: &mut C,
    src: &str,
    src_code_units: u64,
    worst_case_size: u64,
) -> Result<(u64, u64), Error> {
    let mut ptr = allocate(cx, 1, src_code_units, Content::String)?;
    let ascii = src.bytes().take_while(u8::is_ascii).count();
    let (ascii, rest) = src.split_at(ascii);
    let out = valid_range_mut(cx.memory_mut()?, ptr, ascii.len() as u64)?;
    write_utf8(ascii, out)?;
    if rest.is_empty() {
        return Ok((ptr, src_code_units));
    }
    let encoded = src.len() as u64;
    ptr = reallocate(cx, ptr, src_code_units, 1, worst_case_size, Content::String)?;
    let after_ascii = ptr + ascii.len() as u64;
    write_utf8(
        rest,
        valid_range_mut(cx.memory_mut()?, after_ascii, rest.len() as u64)?,
    )?;
    if worst_case_size > encoded {
        ptr = reallocate(cx, ptr, worst_case_size, 1, encoded, Content::String)?;
    }
    Ok((ptr, encoded))
}

fn store_utf8_to_utf16<C: LiftLower>(
    cx: &mut C,
    src: &str,
    src_code_units: u64,
) -> Result<(u64, u64), Error> {
    let worst_case_size = src_code_units.saturating_mul(2);
    let mut ptr = allocate(cx, 2, worst_case_size, Content::String)?;
    let out = valid_range_mut(cx.memory_mut()?, ptr, worst_case_size)?;
    let code_units = encode_utf16(src, out)?;
    let encoded = 2 * code_units;
    if encoded < worst_case_size {
        ptr = reallocate(cx, ptr, worst_case_size, 2, encoded, Content::String)?;
    }
    Ok((ptr, code_units))
}

fn store_string_to_latin1_or_utf16<C: LiftLower>(
    cx: &mut C,
    src: &str,
    src_code_units: u64,
) -> Result<(u64, u64), Error> {
    let mut ptr = allocate(cx, 2, src_code_units, Content::String)?;
    let out = valid_range_mut(cx.memory_mut()?, ptr, src_code_units)?;
    let (latin1_length, rest) = encode_latin1(src, out);
    if rest.is_empty() {
        if latin1_length < src_code_units {
            ptr = reallocate(cx, ptr, src_code_units, 2, latin1_length, Content::String)?;
        }
        return Ok((ptr, latin1_length));
    }
    let worst_case_size = src_code_units.saturating_mul(2);
    ptr = reallocate(cx, ptr, src_code_units, 2, worst_case_size, Content::String)?;
    let out = valid_range_mut(cx.memory_mut()?, ptr, worst_case_size)?;
    let (wide, narrow) = out.split_at_mut(2 * latin1_length as usize);
    widen_latin1(wide);
    let code_units = latin1_length + encode_utf16(rest, narrow)?;
    let encoded = 2 * code_units;
    if worst_case_size > encoded {
        ptr = reallocate(cx, ptr, worst_case_size, 2, encoded, Content::String)?;
    }
    Ok((ptr, code_units | utf16_tag(cx.ptr_type())))
}

fn store_probably_utf16_to_latin1_or_utf16<C: LiftLower>(
    cx: &mut C,
    src: &str,
    src_code_units: u64,
) -> Result<(u64, u64), Error> {
    let src_byte_length = src_code_units.saturating_mul(2);
    let mut ptr = allocate(cx, 2, src_byte_length, Content::String)?;
    let out = valid_range_mut(cx.memory_mut()?, ptr, src_byte_length)?;
    write_utf16(src, out)?;
    if !src.chars().all(is_latin1) {
        return Ok((ptr, src_code_units | utf16_tag(cx.ptr_type())));
    }
    narrow_to_latin1(out);
    ptr = reallocate(cx, ptr, src_byte_length, 1, src_code_units, Content::String)?;
    Ok((ptr, src_code_units))
}

fn is_latin1(c: char) -> bool {
    u8::try_from(c).is_ok()
}

fn write_utf8(src: &str, out: &mut [u8]) -> Result<(), Error> {
    if src.len() != out.len() {
        return Err(wrong_size(src, out));
    }
    out.copy_from_slice(src.as_bytes());
    Ok(())
}

fn write_utf16(src: &str, out: &mut [u8]) -> Result<(), Error> {
    let code_units = encode_utf16(src, out)?;
    if 2 * code_units != out.len() as u64 {
        return Err(wrong_size(src, out));
    }
    Ok(())
}

/// Returns how many code units there are; they must have room.
fn encode_utf16(src: &str, out: &mut [u8]) -> Result<u64, Error> {
    let mut code_units = src.encode_utf16();
    let mut written = 0;
    for slot in out.as_chunks_mut::<2>().0 {
        let Some(code_unit) = code_units.next() else {
            return Ok(written);
        };
        *slot = code_unit.to_le_bytes();
        written += 1;
    }
    match code_units.next() {
        None => Ok(written),
        Some(_) => Err(wrong_size(src, out)),
    }
}

fn write_latin1(src: &str, out: &mut [u8]) -> Result<(), Error> {
    let (written, rest) = encode_latin1(src, out);
    if written != out.len() as u64 || !rest.is_empty() {
        return Err(wrong_size(src, out));
    }
    Ok(())
}

/// Encodes what comes before the first character that is not in Latin-1, or has no room; returns
/// how many characters that were, and the rest.
fn encode_latin1<'a>(src: &'a str, out: &mut [u8]) -> (u64, &'a str) {
    let mut rest = src.chars();
    let mut written = 0;
    for slot in out {
        let mut after = rest.clone();
        let Some(Ok(byte)) = after.next().map(u8::try_from) else {
            break;
        };
        *slot = byte;
        (rest, written) = (after, written + 1);
    }
    (written, rest.as_str())
}

fn wrong_size(src: &str, out: &[u8]) -> Error {
    bug!("a string of {} bytes written to {}", src.len(), out.len())
}

/// Makes two bytes of each in the first half. Backwards, so that none is overwritten unread.
fn widen_latin1(bytes: &mut [u8]) {
    for i in (0..bytes.len() / 2).rev() {
        bytes[2 * i] = bytes[i];
        bytes[2 * i + 1] = 0;
    }
}

/// Moves every other byte to the first half.
fn narrow_to_latin1(bytes: &mut [u8]) {
    for i in 0..bytes.len() / 2 {
        bytes[i] = bytes[2 * i];
    }
}

//! Strings between all encodings: the bytes, and the calls of `realloc` that a guest sees.

use super::{HEAP, Mock, Realloc, assert_type_error, lift, lower};
use crate::abi::options::PtrType;
use crate::component::definitions::StringEncoding::{self, Latin1Utf16, Utf8, Utf16};
use crate::types::Type;
use crate::val::{SourceEncoding, Text, Val};

const TAG: u64 = 0x8000_0000;

/// How a string is in the memory of the guest it comes from.
struct Source {
    encoding: StringEncoding,
    bytes: Vec<u8>,
    tagged_code_units: u64,
}

fn utf16_bytes(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn latin1_bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap()).collect()
}

fn from_utf8(text: &str) -> Source {
    Source {
        encoding: Utf8,
        bytes: text.as_bytes().to_vec(),
        tagged_code_units: text.len() as u64,
    }
}

fn from_utf16(text: &str) -> Source {
    Source {
        encoding: Utf16,
        bytes: utf16_bytes(text),
        tagged_code_units: text.encode_utf16().count() as u64,
    }
}

fn from_latin1(text: &str) -> Source {
    Source {
        encoding: Latin1Utf16,
        bytes: latin1_bytes(text),
        tagged_code_units: text.chars().count() as u64,
    }
}

fn from_tagged(text: &str) -> Source {
    let mut source = from_utf16(text);
    source.encoding = Latin1Utf16;
    source.tagged_code_units |= TAG;
    source
}

/// Lifts from a guest, lowers into another, and gives the second's bytes, length and reallocs.
fn pass(source: &Source, to: StringEncoding) -> (Vec<u8>, u64, Vec<(u64, u32, u64)>) {
    let mut cx = Mock::with_encoding(source.encoding);
    cx.write(32, &source.bytes);
    let v = lift(&mut cx, &Type::String, &[32, source.tagged_code_units]).unwrap();
    let mut cx = Mock::with_encoding(to);
    let flat = lower(&mut cx, &v, &Type::String).unwrap();
    let (ptr, length) = (flat[0].1, flat[1].1);
    let byte_length = match to {
        Utf8 => length,
        Utf16 => 2 * length,
        Latin1Utf16 if length & TAG != 0 => 2 * (length ^ TAG),
        Latin1Utf16 => length,
    };
    let bytes = cx.memory[ptr as usize..][..byte_length as usize].to_vec();
    let reallocs = cx.reallocs.iter().map(|call| {
        let Realloc {
            old_byte_length,
            alignment,
            new_byte_length,
        } = *call;
        (old_byte_length, alignment, new_byte_length)
    });
    (bytes, length, reallocs.collect())
}

#[test]
fn utf8_is_asked_for_once_if_ascii_else_in_the_worst_case() {
    for (source, text, reallocs) in [
        (from_utf8("ab"), "ab", vec![(0, 1, 2)]),
        (from_utf8("aé"), "aé", vec![(0, 1, 3)]),
        (from_utf8("a☃"), "a☃", vec![(0, 1, 4)]),
        (from_utf16("ab"), "ab", vec![(0, 1, 2)]),
        (
            from_utf16("aé"),
            "aé",
            vec![(0, 1, 2), (2, 1, 6), (6, 1, 3)],
        ),
        (
            from_utf16("a☃"),
            "a☃",
            vec![(0, 1, 2), (2, 1, 6), (6, 1, 4)],
        ),
        (from_utf16("☃☃"), "☃☃", vec![(0, 1, 2), (2, 1, 6)]),
        (from_tagged("ab"), "ab", vec![(0, 1, 2)]),
        (
            from_tagged("a☃"),
            "a☃",
            vec![(0, 1, 2), (2, 1, 6), (6, 1, 4)],
        ),
        (from_latin1("ab"), "ab", vec![(0, 1, 2)]),
        (
            from_latin1("aé"),
            "aé",
            vec![(0, 1, 2), (2, 1, 4), (4, 1, 3)],
        ),
        (from_latin1("éé"), "éé", vec![(0, 1, 2), (2, 1, 4)]),
        (from_utf8(""), "", vec![(0, 1, 0)]),
        (from_utf16(""), "", vec![(0, 1, 0)]),
    ] {
        let expected = (text.as_bytes().to_vec(), text.len() as u64, reallocs);
        assert_eq!(pass(&source, Utf8), expected, "{text}");
    }
}

#[test]
fn utf16_is_asked_for_twice_the_bytes_of_utf8() {
    for (source, text, reallocs) in [
        (from_utf8("ab"), "ab", vec![(0, 2, 4)]),
        (from_utf8("aé"), "aé", vec![(0, 2, 6), (6, 2, 4)]),
        (from_utf8("a☃"), "a☃", vec![(0, 2, 8), (8, 2, 4)]),
        (from_utf8("🍰"), "🍰", vec![(0, 2, 8), (8, 2, 4)]),
        (from_utf16("a☃"), "a☃", vec![(0, 2, 4)]),
        (from_utf16("🍰"), "🍰", vec![(0, 2, 4)]),
        (from_tagged("a☃"), "a☃", vec![(0, 2, 4)]),
        (from_latin1("aé"), "aé", vec![(0, 2, 4)]),
        (from_utf8(""), "", vec![(0, 2, 0)]),
    ] {
        let code_units = text.encode_utf16().count() as u64;
        let expected = (utf16_bytes(text), code_units, reallocs);
        assert_eq!(pass(&source, Utf16), expected, "{text}");
    }
}

#[test]
fn latin1_is_tried_first_and_widened_when_it_does_not_do() {
    for (source, text, reallocs) in [
        (from_utf8("ab"), "ab", vec![(0, 2, 2)]),
        (from_utf8("aé"), "aé", vec![(0, 2, 3), (3, 2, 2)]),
        (from_utf16("aé"), "aé", vec![(0, 2, 2)]),
        (from_latin1("aé"), "aé", vec![(0, 2, 2)]),
        (from_tagged("aé"), "aé", vec![(0, 2, 4), (4, 1, 2)]),
        (from_tagged(""), "", vec![(0, 2, 0), (0, 1, 0)]),
    ] {
        let expected = (latin1_bytes(text), text.chars().count() as u64, reallocs);
        assert_eq!(pass(&source, Latin1Utf16), expected, "{text}");
    }
    for (source, text, reallocs) in [
        (
            from_utf8("aé☃"),
            "aé☃",
            vec![(0, 2, 6), (6, 2, 12), (12, 2, 6)],
        ),
        (from_utf16("aé☃"), "aé☃", vec![(0, 2, 3), (3, 2, 6)]),
        (from_utf16("é🍰é"), "é🍰é", vec![(0, 2, 4), (4, 2, 8)]),
        (from_tagged("aé☃"), "aé☃", vec![(0, 2, 6)]),
    ] {
        let code_units = text.encode_utf16().count() as u64;
        let expected = (utf16_bytes(text), code_units | TAG, reallocs);
        assert_eq!(pass(&source, Latin1Utf16), expected, "{text}");
    }
}

#[test]
fn every_pair_of_encodings_keeps_the_characters() {
    for text in [
        "",
        "a",
        "é",
        "ÿ",
        "ÿĀ",
        "☃ snow",
        "a🍰",
        "hö☃🍰\0z",
        "\u{d7ff}\u{e000}",
    ] {
        let mut sources = vec![from_utf8(text), from_utf16(text), from_tagged(text)];
        if text.chars().all(|c| u8::try_from(c).is_ok()) {
            sources.push(from_latin1(text));
        }
        for source in &sources {
            for to in [Utf8, Utf16, Latin1Utf16] {
                let (bytes, length, _) = pass(source, to);
                let mut cx = Mock::with_encoding(to);
                cx.write(64, &bytes);
                let v = lift(&mut cx, &Type::String, &[64, length]).unwrap();
                assert_eq!(
                    v,
                    Val::String(text.into()),
                    "{:?} to {to:?}",
                    source.encoding
                );
            }
        }
    }
}

#[test]
fn the_tag_is_the_highest_bit_of_a_length() {
    let mut cx = Mock::with_encoding(Latin1Utf16);
    cx.ptr_type = PtrType::I64;
    cx.write(32, &utf16_bytes("☃"));
    let t = Type::String;
    let v = lift(&mut cx, &t, &[32, 1 << 63 | 1]).unwrap();
    assert_eq!(v, Val::String("☃".into()));
    assert_eq!(lower(&mut cx, &v, &t).unwrap()[1].1, 1 << 63 | 1);
}

#[test]
fn strings_remember_what_they_were_lifted_from() {
    let source = |source: Source| {
        let mut cx = Mock::with_encoding(source.encoding);
        cx.write(32, &source.bytes);
        match lift(&mut cx, &Type::String, &[32, source.tagged_code_units]) {
            Ok(Val::String(text)) => text.source(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(source(from_utf8("é")), SourceEncoding::Utf8);
    assert_eq!(source(from_utf16("é")), SourceEncoding::Utf16);
    assert_eq!(source(from_latin1("é")), SourceEncoding::Latin1);
    assert_eq!(source(from_tagged("é")), SourceEncoding::TaggedUtf16);
    assert_eq!(
        Text::from("é"),
        Text::new("é".into(), SourceEncoding::Latin1)
    );
}

#[test]
fn only_what_was_not_written_before_realloc_is_written_after() {
    // A guest whose `realloc` forgets the old bytes sees its own fault.
    let mut cx = Mock::with_encoding(Utf8);
    let v = Val::String(Text::new("ab☃".into(), SourceEncoding::Utf16));
    cx.realloc_returns = Some(HEAP);
    cx.write(HEAP as usize, b"??????");
    lower(&mut cx, &v, &Type::String).unwrap();
    assert_eq!(cx.memory[HEAP as usize..][..6], *"ab☃?".as_bytes());
}

#[test]
fn a_string_of_the_embedder_s_may_be_too_long_for_realloc() {
    let mut cx = Mock::with_encoding(Utf16);
    // Nothing is allocated for the answer to be no.
    let text = Text::new("a".repeat(1 << 20), SourceEncoding::Utf8);
    cx.realloc_returns = Some(u64::MAX - 1);
    assert!(lower(&mut cx, &Val::String(text), &Type::String).is_err());
    let call = super::super::storing::allocate(
        &mut cx,
        2,
        1 << 32,
        super::super::storing::Content::String,
    );
    assert!(assert_type_error(call).contains("4294967296 bytes"));
}

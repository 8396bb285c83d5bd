//! What a guest can do wrong, and the text of the trap, for either peer.

use super::{Mock, PAGE, assert_traps, lift, lift_from_memory, lower, name, names, store_at};
use crate::abi::options::{Peer, PtrType};
use crate::component::definitions::StringEncoding::{self, Latin1Utf16, Utf8, Utf16};
use crate::error::{Error, ErrorKind};
use crate::trap::Trap;
use crate::types::{Type, ValueTypes};
use crate::val::{SourceEncoding, Text, Val};

const END: u64 = PAGE as u64;

#[track_caller]
fn assert_text<T: std::fmt::Debug>(result: Result<T, Error>, text: &str) {
    let error = result.expect_err("a trap");
    assert!(matches!(error.kind(), ErrorKind::Trap(_)), "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

fn lift_string(peer: Peer, encoding: StringEncoding, ptr: u64, length: u64) -> Result<Val, Error> {
    let mut cx = Mock::with_peer(peer);
    cx.string_encoding = encoding;
    cx.memory[PAGE - 1] = b'k';
    lift(&mut cx, &Type::String, &[ptr, length])
}

#[test]
fn strings_end_within_memory() {
    for (ptr, length) in [
        (END, 1),
        (END - 1, 2),
        (0xdead_beef, 0),
        (0xffff_ffff, 0xffff_ffff),
        (0, (1 << 28) - 1),
        (0, 1 << 28),
    ] {
        let host = lift_string(Peer::Host, Utf8, ptr, length);
        assert_text(host, "string pointer/length out of bounds of memory");
        let guest = lift_string(Peer::Guest, Utf8, ptr, length);
        assert_text(guest, "string content out-of-bounds");
    }
    assert!(lift_string(Peer::Host, Utf8, END - 1, 1).is_ok());
    assert!(lift_string(Peer::Host, Utf8, END, 0).is_ok());
    let wide = lift_string(Peer::Host, Utf16, END - 2, 2);
    assert_traps(wide, Trap::StringOutOfBounds);
}

#[test]
fn strings_longer_than_the_specification_allows_are_refused_before_their_pointer() {
    let at = |encoding, length| lift_string(Peer::Host, encoding, 1, length);
    assert_traps(at(Utf8, 1 << 28), Trap::StringTooLong);
    assert_traps(at(Utf16, 1 << 27), Trap::StringTooLong);
    assert_traps(at(Latin1Utf16, 1 << 28), Trap::StringTooLong);
    assert_traps(at(Latin1Utf16, 1 << 31 | 1 << 27), Trap::StringTooLong);
    let mut cx = Mock::new();
    cx.ptr_type = PtrType::I64;
    cx.string_encoding = Utf16;
    let huge = lift(&mut cx, &Type::String, &[u64::MAX - 1, u64::MAX]);
    assert_traps(huge, Trap::StringTooLong);
    let contents = ValueTypes::new([Type::String]).contents();
    assert_eq!(
        cx.charged,
        contents.weight + contents.tree,
        "only the parameter list"
    );
}

#[test]
fn wide_strings_are_aligned_even_when_empty() {
    for (encoding, length) in [(Utf16, 0), (Latin1Utf16, 0), (Latin1Utf16, 1 << 31)] {
        let guest = lift_string(Peer::Guest, encoding, 1, length);
        assert_text(guest, "unaligned pointer");
    }
    assert!(lift_string(Peer::Guest, Utf8, 1, 0).is_ok());
}

#[test]
fn strings_are_well_formed() {
    let lift = |encoding, bytes: &[u8], length| {
        let mut cx = Mock::with_encoding(encoding);
        cx.write(8, bytes);
        lift(&mut cx, &Type::String, &[8, length])
    };
    assert_text(lift(Utf8, &[0xff], 1), "invalid utf-8");
    assert_text(lift(Utf8, &[0xc3], 1), "incomplete utf-8 byte sequence");
    // A surrogate, encoded.
    assert_text(lift(Utf8, &[0xed, 0xa0, 0x80], 3), "invalid utf-8");
    for unpaired in [[0, 0xd8, 0, 0], [0, 0xdc, 0, 0], [0, 0, 0xff, 0xdb]] {
        assert_traps(lift(Utf16, &unpaired, 2), Trap::InvalidUtf16);
    }
}

#[test]
fn lists_end_within_memory_and_are_aligned() {
    for peer in [Peer::Host, Peer::Guest] {
        let lift = |ptr, length| {
            let mut cx = Mock::with_peer(peer);
            lift(&mut cx, &Type::list(Type::U32), &[ptr, length])
        };
        assert_text(lift(END, 1), "list content out-of-bounds");
        assert_text(lift(END - 4, 2), "list content out-of-bounds");
        assert_text(lift(0xffff_fffc, 0), "list content out-of-bounds");
        assert_text(lift(2, 0), "unaligned pointer");
        assert_traps(lift(1, 1 << 26), Trap::ListTooLong);
        assert_traps(lift(0, 0xffff_ffff), Trap::ListTooLong);
        assert!(lift(END, 0).is_ok());
    }
    let mut cx = Mock::new();
    cx.ptr_type = PtrType::I64;
    for t in [
        Type::list(Type::U64),
        Type::map(Type::U8, Type::U64),
        Type::list(Type::fixed_length_list(Type::U64, u32::MAX)),
    ] {
        let huge = lift(&mut cx, &t, &[u64::MAX - 7, u64::MAX]);
        assert_traps(huge, Trap::ListTooLong);
    }
}

#[test]
fn a_list_is_charged_before_it_is_allocated() {
    let mut cx = Mock::new();
    cx.memory.resize(1 << 21, 0);
    let error = lift(&mut cx, &Type::list(Type::U8), &[0, 1 << 21]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit(_)), "{error}");
    assert!(cx.charged >= 1 << 21);
}

#[test]
fn values_for_the_embedder_are_charged_by_what_they_take_as_a_tree() {
    let t = Type::list(Type::U8);
    let lifted = |peer| lift(&mut Mock::with_peer(peer), &t, &[0, 1 << 16]);
    let error = lifted(Peer::Host).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit(_)), "{error}");
    assert!(
        lifted(Peer::Guest).is_ok(),
        "from guest to guest it is bytes"
    );
}

#[test]
fn lists_that_share_their_elements_are_charged_each_time() {
    // 4,096 lists, all of the same 4,096 bytes: 32 KiB of memory, and 16 million values.
    let mut cx = Mock::new();
    for i in 0..4096 {
        cx.write(8 * i, &[0, 0, 0, 0, 0, 0x10, 0, 0]);
    }
    let t = Type::list(Type::list(Type::U8));
    let error = lift(&mut cx, &t, &[0, 4096]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit(_)), "{error}");
    assert!(cx.charged < 2 << 20);
}

#[test]
fn spilled_values_are_aligned_and_within_memory() {
    let t = Type::tuple([Type::U32, Type::U8]);
    for peer in [Peer::Host, Peer::Guest] {
        let mut cx = Mock::with_peer(peer);
        assert_text(lift_from_memory(&mut cx, &t, 1), "unaligned pointer");
        assert_text(
            lift_from_memory(&mut cx, &t, END - 4),
            "pointer out of bounds of memory",
        );
        let v = Val::Tuple(vec![Val::U32(0), Val::U8(0)]);
        assert_text(store_at(&mut cx, &v, &t, 2), "unaligned pointer");
        assert_traps(store_at(&mut cx, &v, &t, END), Trap::PointerOutOfBounds);
        assert!(cx.reallocs.is_empty());
    }
}

#[test]
fn what_realloc_returns_is_checked_for_its_alignment_and_then_its_end() {
    let lower = |peer, t: &Type, v: &Val, returns| {
        let mut cx = Mock::with_peer(peer);
        cx.realloc_returns = Some(returns);
        lower(&mut cx, v, t)
    };
    let bytes = (Type::list(Type::U8), Val::List(vec![]));
    let words = (Type::list(Type::U32), Val::List(vec![Val::U32(1)]));
    let text = (Type::String, Val::String("abc".into()));
    let many = (
        Type::tuple(vec![Type::U32; 17]),
        Val::Tuple(vec![Val::U32(0); 17]),
    );
    let map = (
        Type::map(Type::U32, Type::U32),
        Val::Map(vec![(Val::U32(1), Val::U32(1))]),
    );
    let minus_one = 0xffff_ffff;
    for (t, v) in [&bytes, &words, &text, &many, &map] {
        let high = lower(Peer::Host, t, v, 0xffff_fffc);
        assert_text(high, "realloc return: beyond end of memory");
    }
    for (t, v) in [&words, &many, &map] {
        let odd = lower(Peer::Host, t, v, minus_one);
        assert_text(odd, "realloc return: result not aligned");
        let odd = lower(Peer::Guest, t, v, minus_one);
        assert_text(odd, "wasm trap: unaligned pointer");
    }
    for ((t, v), trap) in [
        (&bytes, "wasm trap: list content out-of-bounds"),
        (&words, "wasm trap: list content out-of-bounds"),
        (&map, "wasm trap: list content out-of-bounds"),
        (&text, "wasm trap: string content out-of-bounds"),
        (&many, "wasm trap: pointer out of bounds of memory"),
    ] {
        assert_text(lower(Peer::Guest, t, v, 0x8000_0000), trap);
    }
}

#[test]
fn each_call_of_realloc_for_a_string_is_checked() {
    for (encoding, source, text) in [
        (Utf8, SourceEncoding::Utf16, "☃"),
        (Utf8, SourceEncoding::Latin1, "é"),
        (Utf16, SourceEncoding::Utf8, "☃"),
        (Latin1Utf16, SourceEncoding::Utf8, "☃"),
        (Latin1Utf16, SourceEncoding::TaggedUtf16, "a"),
    ] {
        let v = Val::String(Text::new(text.into(), source));
        // The end of memory is too close for one, then two, then all of the calls.
        for ptr in (END - 4..=END).rev().step_by(2) {
            let mut cx = Mock::with_encoding(encoding);
            cx.realloc_returns = Some(ptr);
            match lower(&mut cx, &v, &Type::String) {
                Ok(_) => assert!(ptr + 2 <= END),
                Err(error) => assert_eq!(error.trap(), Some(&Trap::ReallocOutOfBounds)),
            }
            if encoding != Utf8 {
                cx.realloc_returns = Some(1);
                let odd = lower(&mut cx, &v, &Type::String);
                assert_traps(odd, Trap::ReallocNotAligned);
            }
        }
    }
}

#[test]
fn chars_are_unicode_scalar_values() {
    let mut cx = Mock::new();
    for bits in [0xd800, 0xdfff, 0x11_0000, 0xffff_ffff] {
        let result = lift(&mut cx, &Type::Char, &[bits]);
        assert_text(result, "invalid `char` bit pattern");
    }
    for bits in [0, 0xd7ff, 0xe000, 0x10_ffff] {
        assert!(lift(&mut cx, &Type::Char, &[bits]).is_ok());
    }
    cx.write(8, &0xd800_u32.to_le_bytes());
    let result = lift_from_memory(&mut cx, &Type::Char, 8);
    assert_traps(result, Trap::InvalidChar(0xd800));
}

#[test]
fn discriminants_name_a_case() {
    let mut cx = Mock::new();
    let variant = Type::variant([(name("x"), Some(Type::U32))]);
    for (t, flat, cases) in [
        (variant, vec![1, 0], 1),
        (Type::enum_(names("e", 2)), vec![2], 2),
        (Type::option(Type::U8), vec![2, 0], 2),
        (Type::result(None, None), vec![0xffff_ffff], 2),
    ] {
        let result = lift(&mut cx, &t, &flat);
        assert_text(result, "invalid variant discriminant");
        cx.memory[8] = cases;
        let result = lift_from_memory(&mut cx, &t, 8);
        assert_traps(result, Trap::InvalidDiscriminant(u32::from(cases)));
    }
}

/// The validator ends at 10,000 cases; what is here does not rely on that.
#[test]
fn discriminants_of_every_size_name_the_last_case_and_none_after_it() {
    for (count, size) in [(0x100, 1), (0x101, 2), (0x1_0000, 2), (0x1_0001, 4)] {
        let cases = names("e", count);
        let last = Val::Enum(cases[count - 1].clone());
        let t = Type::enum_(cases);
        let mut cx = Mock::new();
        cx.memory[8..16].fill(0xff);
        store_at(&mut cx, &last, &t, 8).expect("it is stored");
        let mut bytes = (count as u32 - 1).to_le_bytes()[..size].to_vec();
        bytes.resize(8, 0xff);
        assert_eq!(cx.memory[8..16], bytes, "{count} cases");
        assert_eq!(lift_from_memory(&mut cx, &t, 8).expect("a case"), last);
        let flat = lower(&mut cx, &last, &t).expect("it is one number");
        assert_eq!(flat[0].1, count as u64 - 1);
        assert_eq!(lift(&mut cx, &t, &[flat[0].1]).expect("a case"), last);

        let beyond = Trap::InvalidDiscriminant(count as u32);
        assert_traps(lift(&mut cx, &t, &[count as u64]), beyond.clone());
        if count.trailing_zeros() as usize != 8 * size {
            cx.write(8, &(count as u32).to_le_bytes());
            assert_traps(lift_from_memory(&mut cx, &t, 8), beyond);
        }
    }
}

//! Random types, and random values of them, for tests and fuzzing of the value layer.

use super::loading::{canonicalize_nan32, canonicalize_nan64};
use super::mock::{name, names};
use crate::types::{ResourceType, Type};
use crate::val::{ErrorContextAny, FutureAny, ResourceAny, SourceEncoding, StreamAny, Text, Val};

/// What decides: bytes that are given, and when they are used up, a xorshift generator; seeded
/// with 0, that yields zeros.
#[derive(Debug)]
pub(crate) struct Random<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) seed: u64,
    /// How many parts types may have, from now on.
    pub(crate) parts: u32,
    /// Whether types may be handles, streams and the like.
    pub(crate) handles: bool,
    /// Whether floats may be any NaN, as an embedder's may; a guest's are always the one NaN.
    pub(crate) any_nan: bool,
}

impl<'a> Random<'a> {
    pub(crate) fn seeded(seed: u64) -> Random<'a> {
        Random {
            bytes: &[],
            seed,
            parts: u32::MAX,
            handles: true,
            any_nan: false,
        }
    }

    #[cfg_attr(not(fuzzing), allow(dead_code, reason = "the fuzz targets use it"))]
    pub(crate) fn of_bytes(bytes: &'a [u8]) -> Random<'a> {
        Random {
            bytes,
            seed: 0,
            parts: 60,
            handles: true,
            any_nan: false,
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.take(8).unwrap_or_else(|| {
            self.seed ^= self.seed << 13;
            self.seed ^= self.seed >> 7;
            self.seed ^= self.seed << 17;
            self.seed
        })
    }

    /// The next bytes, as many as there are; none when there are none.
    fn take(&mut self, count: usize) -> Option<u64> {
        if self.bytes.is_empty() {
            return None;
        }
        let (taken, rest) = self.bytes.split_at(count.min(self.bytes.len()));
        self.bytes = rest;
        let bits = taken.iter().rev();
        Some(bits.fold(0, |bits, byte| bits << 8 | u64::from(*byte)))
    }

    pub(crate) fn below(&mut self, limit: u64) -> usize {
        let bits = self.take(if limit > 256 { 2 } else { 1 });
        (bits.unwrap_or_else(|| self.next()) % limit) as usize
    }

    pub(crate) fn ty(&mut self, depth: u32) -> Type {
        self.parts = self.parts.saturating_sub(1);
        let depth = if self.parts == 0 { 0 } else { depth };
        let rt = ResourceType::fresh();
        let kinds = if depth == 0 { 18 } else { 28 };
        match self.below(kinds) {
            13..18 if !self.handles => Type::String,
            0 => Type::Bool,
            1 => Type::S8,
            2 => Type::U8,
            3 => Type::S16,
            4 => Type::U16,
            5 => Type::S32,
            6 => Type::U32,
            7 => Type::S64,
            8 => Type::U64,
            9 => Type::Float32,
            10 => Type::Float64,
            11 => Type::Char,
            12 => Type::String,
            13 => Type::ErrorContext,
            14 => Type::Own(rt),
            15 => Type::Borrow(rt),
            16 => Type::stream(None),
            17 => Type::future(Some(Type::U8)),
            18 => Type::list(self.ty(depth - 1)),
            19 => Type::fixed_length_list(self.ty(depth - 1), 1 + self.below(3) as u32),
            20 => Type::map(self.key_ty(), self.ty(depth - 1)),
            21 => {
                let fields = names("f", 1 + self.below(4)).into_iter();
                Type::record(fields.map(|f| (f, self.ty(depth - 1))).collect::<Vec<_>>())
            }
            22 => {
                let types = (0..=self.below(3)).map(|_| self.ty(depth - 1));
                Type::tuple(types.collect::<Vec<_>>())
            }
            23 => {
                let cases = names("c", self.cases()).into_iter();
                let cases = cases.map(|c| (c, self.maybe_ty(depth - 1)));
                Type::variant(cases.collect::<Vec<_>>())
            }
            24 => Type::enum_(names("e", self.cases())),
            25 => Type::option(self.ty(depth - 1)),
            26 => Type::result(self.maybe_ty(depth - 1), self.maybe_ty(depth - 1)),
            _ => Type::flags(names("f", 1 + self.below(32))),
        }
    }

    /// A few cases, and now and then as many as need a discriminant of two bytes.
    fn cases(&mut self) -> usize {
        match self.below(8) {
            0 => 1 + self.below(300),
            _ => 1 + self.below(6),
        }
    }

    /// Neither floats nor compound types may be keys.
    fn key_ty(&mut self) -> Type {
        let keys = [
            Type::Bool,
            Type::S8,
            Type::U8,
            Type::S16,
            Type::U16,
            Type::S32,
            Type::U32,
            Type::S64,
            Type::U64,
            Type::Char,
            Type::String,
        ];
        keys[self.below(keys.len() as u64)].clone()
    }

    fn maybe_ty(&mut self, depth: u32) -> Option<Type> {
        (self.below(2) == 0).then(|| self.ty(depth))
    }

    fn vals(&mut self, t: &Type, count: usize) -> Vec<Val> {
        (0..count).map(|_| self.val(t)).collect()
    }

    fn payload(&mut self, t: Option<&Type>) -> Option<Box<Val>> {
        t.map(|t| Box::new(self.val(t)))
    }

    pub(crate) fn val(&mut self, t: &Type) -> Val {
        let bits = self.next();
        match t {
            Type::Bool => Val::Bool(bits & 1 == 1),
            Type::S8 => Val::S8(bits as i8),
            Type::U8 => Val::U8(bits as u8),
            Type::S16 => Val::S16(bits as i16),
            Type::U16 => Val::U16(bits as u16),
            Type::S32 => Val::S32(bits as i32),
            Type::U32 => Val::U32(bits as u32),
            Type::S64 => Val::S64(bits as i64),
            Type::U64 => Val::U64(bits),
            Type::Float32 => Val::Float32(self.f32(bits)),
            Type::Float64 => Val::Float64(self.f64(bits)),
            Type::Char => Val::Char(self.char()),
            Type::String => {
                let length = self.length(5);
                let text: String = (0..length).map(|_| self.char()).collect();
                let latin1 = text.chars().all(|c| u32::from(c) < 0x100);
                let source = match self.below(4) {
                    0 => SourceEncoding::Utf8,
                    1 => SourceEncoding::Utf16,
                    2 if latin1 => SourceEncoding::Latin1,
                    _ => SourceEncoding::TaggedUtf16,
                };
                Val::String(Text::new(text, source))
            }
            Type::ErrorContext => {
                Val::ErrorContext(ErrorContextAny::new((bits & 0xff).to_string()))
            }
            Type::Own(rt) => Val::Resource(ResourceAny::own(*rt, bits as u8 as u32)),
            Type::Borrow(rt) => Val::Resource(ResourceAny::borrow(*rt, bits as u8 as u32)),
            Type::Stream(_) => Val::Stream(StreamAny::new(bits & 0xff)),
            Type::Future(_) => Val::Future(FutureAny::new(bits & 0xff)),
            Type::List(list) => {
                // Long lists of what may be long itself would not fit into a page.
                let flat = matches!(list.ty(), Type::U8 | Type::S16 | Type::Char | Type::Bool);
                let length = if flat { self.length(4) } else { self.below(4) };
                Val::List(self.vals(list.ty(), length))
            }
            Type::FixedLengthList(list) => Val::List(self.vals(list.ty(), list.size() as usize)),
            Type::Map(map) => {
                let entries =
                    (0..self.below(4)).map(|_| (self.val(map.key()), self.val(map.value())));
                Val::Map(entries.collect())
            }
            Type::Record(record) => {
                let fields = record.fields().map(|(f, t)| (name(f), self.val(t)));
                Val::Record(fields.collect())
            }
            Type::Tuple(tuple) => Val::Tuple(tuple.types().iter().map(|t| self.val(t)).collect()),
            Type::Variant(variant) => {
                let index = self.below(variant.cases().len() as u64);
                let (case, t) = variant.cases().nth(index).unwrap();
                Val::Variant(name(case), self.payload(t))
            }
            Type::Enum(enum_) => {
                let index = self.below(enum_.names().len() as u64);
                Val::Enum(name(enum_.names().nth(index).unwrap()))
            }
            Type::Option(option) => {
                let some = self.below(2) == 1;
                Val::Option(self.payload(some.then(|| option.ty())))
            }
            Type::Result(result) => Val::Result(match self.below(2) {
                0 => Ok(self.payload(result.ok())),
                _ => Err(self.payload(result.err())),
            }),
            Type::Flags(flags) => {
                let set = flags
                    .names()
                    .enumerate()
                    .filter(|(bit, _)| bits >> bit & 1 == 1);
                Val::Flags(set.map(|(_, flag)| name(flag)).collect())
            }
        }
    }

    /// A small number, and now and then a larger one.
    fn length(&mut self, limit: u64) -> usize {
        match self.below(16) {
            0 => self.below(200),
            _ => self.below(limit),
        }
    }

    /// Any bits, or one of those that matter: infinities, zeros, NaNs of all kinds.
    fn f32(&mut self, bits: u64) -> f32 {
        const BITS: [u32; 8] = [
            0x7f80_0000, // infinite
            0xff80_0000,
            0x8000_0000, // -0
            0x0000_0001, // the smallest
            0x7fc0_0000, // the canonical NaN
            0xffc0_0000, // the same, negative
            0x7f80_0001, // signalling
            0xffff_ffff,
        ];
        let f = f32::from_bits(match self.below(4) {
            0 => BITS[(bits % 8) as usize],
            _ => bits as u32,
        });
        if self.any_nan {
            f
        } else {
            canonicalize_nan32(f)
        }
    }

    fn f64(&mut self, bits: u64) -> f64 {
        const BITS: [u64; 8] = [
            0x7ff0_0000_0000_0000, // infinite
            0xfff0_0000_0000_0000,
            0x8000_0000_0000_0000, // -0
            0x0000_0000_0000_0001, // the smallest
            0x7ff8_0000_0000_0000, // the canonical NaN
            0xfff8_0000_0000_0000, // the same, negative
            0x7ff0_0000_0000_0001, // signalling
            0xffff_ffff_ffff_ffff,
        ];
        let f = f64::from_bits(match self.below(4) {
            0 => BITS[(bits % 8) as usize],
            _ => bits,
        });
        if self.any_nan {
            f
        } else {
            canonicalize_nan64(f)
        }
    }

    /// One of those at which an encoding changes, or any.
    fn char(&mut self) -> char {
        const CHARS: [char; 12] = [
            'a',
            '\0',
            '\u{7f}',
            '\u{80}',
            'é',
            'ÿ',
            'Ā',
            '\u{7ff}',
            '☃',
            '\u{ffff}',
            '🍰',
            '\u{10ffff}',
        ];
        match self.below(16) {
            0 => char::from_u32(self.next() as u32 & 0x1f_ffff).unwrap_or('a'),
            i => CHARS[i % CHARS.len()],
        }
    }
}

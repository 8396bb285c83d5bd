//! Takes the constants out of a function that has more of them than the engine can hold.
//!
//! The engine keeps a function's constants, each value once, in slots that it numbers downwards in
//! 16 bits: the 32,768th is an error, and so is any use of a constant, old or new, after the
//! 32,767th. It also makes constants of its own: two for each conditional branch that jumps far, and
//! the results of arithmetic on constants. Both are counted here from above. Python's relocation
//! function, which is part of its start function, has 38,740 constants.
//!
//! A constant in excess becomes a `global.get` of an appended global that holds it. The global is
//! mutable, though nothing writes it: the engine would turn an immutable one back into a constant.

use super::Addition;
use crate::error::{Error, Result};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use wasm_encoder::{ConstExpr, Encode, GlobalType, SectionId, ValType};
use wasmparser::{BinaryReader, FunctionBody, Operator};

/// How many constants we let a function have: the engine's limit, less some room for the handful of
/// constants (zeros, masked shift distances) that it makes on other occasions.
pub(super) const MAX_CONSTANTS: usize = 32_000;

/// A constant, told apart by type and bits.
///
/// The engine tells them apart by bits alone, so it has no more of them than we count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Constant {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(i128),
}

impl Constant {
    fn of(operator: &Operator<'_>) -> Option<Constant> {
        Some(match *operator {
            Operator::I32Const { value } => Constant::I32(value),
            Operator::I64Const { value } => Constant::I64(value),
            Operator::F32Const { value } => Constant::F32(value.bits()),
            Operator::F64Const { value } => Constant::F64(value.bits()),
            Operator::V128Const { value } => Constant::V128(value.i128()),
            _ => return None,
        })
    }

    fn global(self) -> (ValType, ConstExpr) {
        match self {
            Constant::I32(value) => (ValType::I32, ConstExpr::i32_const(value)),
            Constant::I64(value) => (ValType::I64, ConstExpr::i64_const(value)),
            Constant::F32(bits) => (
                ValType::F32,
                ConstExpr::f32_const(f32::from_bits(bits).into()),
            ),
            Constant::F64(bits) => (
                ValType::F64,
                ConstExpr::f64_const(f64::from_bits(bits).into()),
            ),
            Constant::V128(value) => (ValType::V128, ConstExpr::v128_const(value)),
        }
    }
}

/// The constants that a module has too many of, and the functions that are written anew for it.
pub(super) struct Excess {
    /// The index of the first global that is appended.
    first_global: u32,
    /// The constants of the appended globals; those of all functions share them.
    constants: Vec<Constant>,
    places: HashMap<Constant, u32>,
    /// The bodies, each with the place in the code section of the one it stands for.
    bodies: Vec<(Range<usize>, Vec<u8>)>,
}

impl Excess {
    /// Looks for functions with more than `max` constants in the contents of a code section.
    pub(super) fn find(
        code: &[u8],
        max: usize,
        global_count: impl FnOnce() -> Result<u32>,
    ) -> Result<Option<Excess>> {
        let mut found = Vec::new();
        let mut reader = BinaryReader::new(code, 0);
        for _ in 0..reader.read_var_u32().map_err(unreadable)? {
            let begin = reader.current_position();
            let mut body = reader.read_reader().map_err(unreadable)?;
            // Everything that makes a constant takes a byte for each that it makes, at least.
            if body.bytes_remaining() <= max {
                continue;
            }
            let size = body.bytes_remaining();
            let body = body.read_bytes(size).map_err(unreadable)?;
            let survey = Survey::of(body)?;
            if survey.total() > max {
                found.push((begin..reader.current_position(), body, survey));
            }
        }
        if found.is_empty() {
            return Ok(None);
        }
        let mut excess = Excess {
            first_global: global_count()?,
            constants: Vec::new(),
            places: HashMap::new(),
            bodies: Vec::new(),
        };
        for (range, body, survey) in found {
            let body = excess.rewrite_body(body, survey.room_for_constants(max))?;
            excess.bodies.push((range, body));
        }
        Ok((!excess.constants.is_empty()).then_some(excess))
    }

    /// The globals that hold the constants.
    pub(super) fn globals(&self) -> Addition {
        let mut entries = Vec::new();
        for constant in &self.constants {
            let (val_type, value) = constant.global();
            let ty = GlobalType {
                val_type,
                mutable: true,
                shared: false,
            };
            ty.encode(&mut entries);
            value.encode(&mut entries);
        }
        Addition {
            id: SectionId::Global,
            count: u32::try_from(self.constants.len()).unwrap_or(u32::MAX),
            entries,
        }
    }

    /// The contents of the code section, with the new bodies in the places of the old ones.
    pub(super) fn splice(&self, code: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(code.len());
        let mut copied = 0;
        for (range, body) in &self.bodies {
            out.extend_from_slice(code.get(copied..range.start).unwrap_or_default());
            body.as_slice().encode(&mut out);
            copied = range.end;
        }
        out.extend_from_slice(code.get(copied..).unwrap_or_default());
        out
    }

    /// Writes a body anew in which only the first `room` constants are left.
    fn rewrite_body(&mut self, body: &[u8], room: usize) -> Result<Vec<u8>> {
        let mut kept = HashSet::new();
        let mut out = Vec::with_capacity(body.len() + body.len() / 4);
        let mut copied = 0;
        each_operator(body, |operator, range| {
            let Some(constant) = Constant::of(operator) else {
                return;
            };
            if kept.contains(&constant) {
                return;
            }
            if kept.len() < room {
                kept.insert(constant);
                return;
            }
            out.extend_from_slice(body.get(copied..range.start).unwrap_or_default());
            wasm_encoder::Instruction::GlobalGet(self.global_of(constant)).encode(&mut out);
            copied = range.end;
        })?;
        out.extend_from_slice(body.get(copied..).unwrap_or_default());
        Ok(out)
    }

    /// The index of the global that holds a constant.
    fn global_of(&mut self, constant: Constant) -> u32 {
        let constants = &mut self.constants;
        let place = *self.places.entry(constant).or_insert_with(|| {
            constants.push(constant);
            u32::try_from(constants.len() - 1).unwrap_or(u32::MAX)
        });
        self.first_global.saturating_add(place)
    }
}

/// What takes a constant's slot in one function, counted from above.
#[derive(Default)]
struct Survey {
    constants: HashSet<Constant>,
    /// The globals that are read: the engine makes constants of some of them.
    globals: HashSet<u32>,
    /// The constants that the engine makes itself.
    made: usize,
    /// How many constants are on top of the operand stack.
    on_stack: usize,
}

impl Survey {
    fn of(body: &[u8]) -> Result<Survey> {
        let mut survey = Survey::default();
        each_operator(body, |operator, range| {
            survey.operator(operator, body.get(range.start).copied());
        })?;
        Ok(survey)
    }

    fn operator(&mut self, operator: &Operator<'_>, opcode: Option<u8>) {
        if let Some(constant) = Constant::of(operator) {
            self.constants.insert(constant);
            self.on_stack += 1;
            return;
        }
        match operator {
            Operator::GlobalGet { global_index } => {
                self.globals.insert(*global_index);
                self.on_stack += 1;
                return;
            }
            // A far jump takes one for the comparison with its distance, and one for what it
            // compares with.
            Operator::BrIf { .. } | Operator::If { .. } => self.made += 2,
            Operator::I8x16Shuffle { .. } => self.made += 1,
            _ => {}
        }
        // SIMD and wide arithmetic (which have prefixes) make up to two constants at once.
        let (operands, results) = match opcode {
            Some(opcode) if is_unary(opcode) => (1, 1),
            Some(0x45..=0xc4) => (2, 1),
            Some(0xfc | 0xfd) => (1, 2),
            _ => (usize::MAX, 0),
        };
        if self.on_stack >= operands {
            self.made += results;
            self.on_stack = self.on_stack - operands + results;
        } else {
            self.on_stack = 0;
        }
    }

    fn total(&self) -> usize {
        self.constants.len() + self.globals.len() + self.made
    }

    /// How many constants may be left when everything else has its slot.
    fn room_for_constants(&self, max: usize) -> usize {
        max.saturating_sub(self.globals.len() + self.made)
    }
}

/// Whether an opcode is a test, a conversion, or arithmetic with one operand.
fn is_unary(opcode: u8) -> bool {
    matches!(
        opcode,
        0x45 | 0x50 | 0x67..=0x69 | 0x79..=0x7b | 0x8b..=0x91 | 0x99..=0x9f | 0xa7..=0xc4
    )
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// A module is validated before it is rewritten, so this is for one that was not.
fn unreadable(error: wasmparser::Error) -> Error {
    Error::invalid(
        format!("a function cannot be read: {}", error.message()),
        None,
    )
}

/// Calls `each` for every operator of a function body, with its place in it.
fn each_operator(body: &[u8], mut each: impl FnMut(&Operator<'_>, Range<usize>)) -> Result<()> {
    let body = FunctionBody::new(BinaryReader::new(body, 0));
    let mut operators = body.get_operators_reader().map_err(unreadable)?;
    while !operators.eof() {
        let (operator, begin) = operators.read_with_offset().map_err(unreadable)?;
        let end = operators.original_position();
        each(&operator, position(begin)..position(end));
    }
    Ok(())
}

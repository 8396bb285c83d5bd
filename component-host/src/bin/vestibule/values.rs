//! Turns the values of a script into values of the host, to pass them and to compare with them.

use vestibule_component_host::Val;
use wast::WastArg;
use wast::WastRet;
use wast::component::WastVal;
use wast::core::{NanPattern, WastArgCore, WastRetCore};

/// The arguments of a call.
pub(crate) fn arguments(args: &[WastArg<'_>]) -> Result<Vec<Val>, String> {
    let args = args.iter().map(|arg| match arg {
        WastArg::Component(value) => Ok(value_of(value)),
        // The parser of scripts takes every float for one of a core module's.
        WastArg::Core(WastArgCore::F32(v)) => Ok(Val::Float32(f32::from_bits(v.bits))),
        WastArg::Core(WastArgCore::F64(v)) => Ok(Val::Float64(f64::from_bits(v.bits))),
        _ => Err("not supported: an argument of a core type".to_owned()),
    });
    args.collect()
}

/// Compares the result of a call with what a script expects: exactly, floats bit for bit, flags as
/// sets.
pub(crate) fn compare(expected: &[WastRet<'_>], result: Option<&Val>) -> Result<(), String> {
    let expected = match expected {
        [] => None,
        [WastRet::Component(value)] => Some(value_of(value)),
        [WastRet::Core(WastRetCore::F32(NanPattern::Value(v)))] => {
            Some(Val::Float32(f32::from_bits(v.bits)))
        }
        [WastRet::Core(WastRetCore::F64(NanPattern::Value(v)))] => {
            Some(Val::Float64(f64::from_bits(v.bits)))
        }
        [_] => return Err("not supported: a result of a core type".to_owned()),
        _ => return Err("not supported: several results".to_owned()),
    };
    match (&expected, result) {
        (None, None) => Ok(()),
        (Some(expected), Some(result)) if expected == result => Ok(()),
        (expected, result) => {
            let (wanted, got) = (show(expected.as_ref()), show(result));
            let unseen = if wanted == got {
                ", which differs in bits that do not show"
            } else {
                ""
            };
            Err(format!("expected {wanted}, got {got}{unseen}"))
        }
    }
}

fn show(value: Option<&Val>) -> String {
    match value {
        None => "no result".to_owned(),
        // WAVE has one NaN; the bits are what was compared.
        Some(Val::Float32(float)) if float.is_nan() => format!("f32 nan {:#010x}", float.to_bits()),
        Some(Val::Float64(float)) if float.is_nan() => format!("f64 nan {:#018x}", float.to_bits()),
        // WAVE does not show the type: `1` is a value of eight of them.
        Some(value) => match kind(value) {
            Some(kind) => format!("{kind} {value}"),
            None => value.to_string(),
        },
    }
}

fn kind(value: &Val) -> Option<&'static str> {
    Some(match value {
        Val::S8(_) => "s8",
        Val::U8(_) => "u8",
        Val::S16(_) => "s16",
        Val::U16(_) => "u16",
        Val::S32(_) => "s32",
        Val::U32(_) => "u32",
        Val::S64(_) => "s64",
        Val::U64(_) => "u64",
        Val::Float32(_) => "f32",
        Val::Float64(_) => "f64",
        Val::Enum(_) => "enum",
        _ => return None,
    })
}

fn value_of(value: &WastVal<'_>) -> Val {
    match value {
        WastVal::Bool(value) => Val::Bool(*value),
        WastVal::U8(value) => Val::U8(*value),
        WastVal::S8(value) => Val::S8(*value),
        WastVal::U16(value) => Val::U16(*value),
        WastVal::S16(value) => Val::S16(*value),
        WastVal::U32(value) => Val::U32(*value),
        WastVal::S32(value) => Val::S32(*value),
        WastVal::U64(value) => Val::U64(*value),
        WastVal::S64(value) => Val::S64(*value),
        WastVal::F32(value) => Val::Float32(f32::from_bits(value.bits)),
        WastVal::F64(value) => Val::Float64(f64::from_bits(value.bits)),
        WastVal::Char(value) => Val::Char(*value),
        WastVal::String(value) => Val::String((*value).into()),
        WastVal::List(values) => Val::List(values.iter().map(value_of).collect()),
        WastVal::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (value_of(key), value_of(value)));
            Val::Map(entries.collect())
        }
        WastVal::Record(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| ((*name).into(), value_of(value)));
            Val::Record(fields.collect())
        }
        WastVal::Tuple(values) => Val::Tuple(values.iter().map(value_of).collect()),
        WastVal::Variant(case, payload) => Val::Variant((*case).into(), payload_of(payload)),
        WastVal::Enum(case) => Val::Enum((*case).into()),
        WastVal::Option(payload) => Val::Option(payload_of(payload)),
        WastVal::Result(Ok(payload)) => Val::Result(Ok(payload_of(payload))),
        WastVal::Result(Err(payload)) => Val::Result(Err(payload_of(payload))),
        WastVal::Flags(names) => Val::Flags(names.iter().map(|name| (*name).into()).collect()),
    }
}

fn payload_of(payload: &Option<Box<WastVal<'_>>>) -> Option<Box<Val>> {
    payload.as_deref().map(value_of).map(Box::new)
}

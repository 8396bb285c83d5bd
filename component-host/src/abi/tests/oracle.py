"""Answers questions about the Canonical ABI with the specification's own definitions.

Run in a folder with `definitions.py`. Reads one JSON object a line, and writes one for each:

  {"ptr", "encoding", "type", "value"}       -> {"flat", "memory"}, or {"trap": true}
      the value lowered as the only parameter: core values as bits, and the heap as hex
  {"ptr", "encoding", "type", "at", "memory"} -> the same
      the value lifted from memory, and lowered again
  {"ptr", "encoding", "type", "flat", "memory"} -> the same
      the value lifted from core values, given as bits, and lowered again
"""

import json
import struct
import sys

import definitions
from definitions import *

definitions.DETERMINISTIC_PROFILE = True

HEAP = 0x400
SIZE = 0x10000


def to_type(t):
    if isinstance(t, str):
        return getattr(definitions, t + "Type")()
    kind, *parts = t
    match kind:
        case "List": return ListType(to_type(parts[0]))
        case "FixedLengthList": return ListType(to_type(parts[0]), parts[1])
        case "Map": return MapType(to_type(parts[0]), to_type(parts[1]))
        case "Record": return RecordType([FieldType(l, to_type(t)) for l, t in parts[0]])
        case "Tuple": return TupleType([to_type(t) for t in parts[0]])
        case "Variant": return VariantType([CaseType(l, maybe(t)) for l, t in parts[0]])
        case "Enum": return EnumType(parts[0])
        case "Option": return OptionType(to_type(parts[0]))
        case "Result": return ResultType(maybe(parts[0]), maybe(parts[1]))
        case "Flags": return FlagsType(parts[0])
    raise ValueError(t)


def maybe(t):
    return None if t is None else to_type(t)


def to_value(v, t, ptr_type):
    """Values come in the shape of the definitions, but for floats (bits), chars and maps."""
    go = lambda v, t: None if t is None else to_value(v, t, ptr_type)
    match t:
        case F32Type(): return struct.unpack("<f", struct.pack("<I", v))[0]
        case F64Type(): return struct.unpack("<d", struct.pack("<Q", v))[0]
        case CharType(): return chr(v)
        case StringType():
            text, source = v
            utf16 = len(text.encode("utf-16-le")) // 2
            match source:
                case "utf8": return (text, "utf8", len(text.encode("utf-8")))
                case "utf16": return (text, "utf16", utf16)
                case "latin1": return (text, "latin1+utf16", len(text))
                case _: return (text, "latin1+utf16", utf16 | utf16_tag(ptr_type))
        case ListType(t, _): return [go(v, t) for v in v]
        case MapType(k, v_): return [{"0": go(k_, k), "1": go(x, v_)} for k_, x in v]
        case RecordType(fields): return {f.label: go(v[f.label], f.t) for f in fields}
        case TupleType(ts): return {str(i): go(v[i], t) for i, t in enumerate(ts)}
        case VariantType() | EnumType() | OptionType() | ResultType():
            [(label, payload)] = v.items()
            [case] = [c for c in despecialize(t).cases if c.label == label]
            return {label: go(payload, case.t)}
        case FlagsType(labels): return {l: l in v for l in labels}
        case _: return v


class Guest:
    def __init__(self, ptr_type, encoding):
        self.memory = bytearray(SIZE)
        self.next = HEAP
        opts = LiftLowerOptions(encoding, MemInst(self.memory, ptr_type), None)
        self.cx = LiftLowerContext(opts, None)
        self.cx.reallocate = self.reallocate

    def reallocate(self, old, old_byte_length, alignment, new_byte_length):
        trap_if(new_byte_length > REALLOC_I32_MAX)
        if old != 0 and new_byte_length <= old_byte_length:
            return old
        new = align_to(self.next, alignment)
        self.next = new + new_byte_length
        trap_if(self.next > SIZE)
        self.memory[new : new + old_byte_length] = self.memory[old : old + old_byte_length]
        return new

    def lower(self, v, t):
        flat = lower_flat_values(self.cx, 16, [v], [t])
        types = flatten_types([t], self.cx.opts)
        if len(types) > 16:
            types = [self.cx.opts.memory.ptr_type()]
        bits = lambda v, ft: {
            "f32": lambda: core_i32_reinterpret_f32(v),
            "f64": lambda: core_i64_reinterpret_f64(v),
        }.get(ft, lambda: v)()
        flat = [bits(v, ft) for v, ft in zip(flat, types, strict=True)]
        return {"flat": flat, "memory": self.memory[HEAP : self.next].hex()}


def core_value(bits, ft):
    match ft:
        case "f32": return core_f32_reinterpret_i32(bits)
        case "f64": return core_f64_reinterpret_i64(bits)
        case _: return bits


def answer(q):
    t = to_type(q["type"])
    guest = Guest(q["ptr"], q["encoding"])
    try:
        if "memory" in q:
            source = Guest(q["ptr"], q["encoding"])
            memory = bytes.fromhex(q["memory"])
            source.memory[: len(memory)] = memory
            if "flat" in q:
                types = flatten_types([t], source.cx.opts)
                flat = [core_value(v, ft) for v, ft in zip(q["flat"], types, strict=True)]
                [v] = lift_flat_values(source.cx, 16, CoreValueIter(flat), [t])
            else:
                [v] = lift_flat_values(source.cx, 0, CoreValueIter([q["at"]]), [t])
        else:
            v = to_value(q["value"], t, q["ptr"])
    except definitions.Trap:
        return {"trap": True}
    try:
        return guest.lower(v, t)
    except definitions.Trap:
        return {"full": True}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)

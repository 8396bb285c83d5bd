//! Random values of random types come back as they were, flat and by memory.

use super::{Mock, lift, lift_from_memory, lower, store_at};
use crate::abi::flattening::flatten_type;
use crate::abi::options::PtrType;
use crate::abi::random::Random;
use crate::component::definitions::StringEncoding::{Latin1Utf16, Utf8, Utf16};

#[test]
fn values_come_back_as_they_were() {
    let mut random = Random::seeded(0x9e37_79b9_7f4a_7c15);
    let mut flat_ones = 0;
    for round in 0..2_000 {
        let t = random.ty(3);
        let v = random.val(&t);
        assert_eq!(v.type_check(&t), Ok(()), "{t}");
        for ptr_type in [PtrType::I32, PtrType::I64] {
            let mut cx = Mock::with_encoding([Utf8, Utf16, Latin1Utf16][round % 3]);
            cx.memory = vec![0xff; 1 << 18];
            cx.next = 1 << 16;
            cx.budget = 1 << 30;
            cx.ptr_type = ptr_type;
            store_at(&mut cx, &v, &t, 1 << 10).unwrap();
            assert_eq!(lift_from_memory(&mut cx, &t, 1 << 10).unwrap(), v, "{t}");
            let Some(flat_types) = flatten_type(&t, ptr_type) else {
                continue;
            };
            flat_ones += 1;
            let flat = lower(&mut cx, &v, &t).unwrap();
            let (types, bits): (Vec<_>, Vec<_>) = flat.into_iter().unzip();
            assert_eq!(types, flat_types.as_slice(), "{t}");
            assert_eq!(lift(&mut cx, &t, &bits).unwrap(), v, "{t}");
        }
    }
    assert!(flat_ones > 1_000, "{flat_ones}");
}

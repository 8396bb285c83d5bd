//! What the fuzz targets reach inside the crate for.

use crate::abi::element_size::elem_size;
use crate::abi::flattening::flatten_type;
use crate::abi::mock::{Mock, lift, lift_from_memory, lower, store_at};
use crate::abi::options::{Peer, PtrType};
use crate::abi::random::Random;
use crate::component::definitions::StringEncoding;
use crate::error::{Error, ErrorKind};
use crate::trap::Trap;
use crate::types::{FuncType, Type};
use crate::val::{ResourceAny, Val};

/// What a fuzz target passes to the functions a component exports: values that the seed decides,
/// and the resources that earlier calls returned.
#[derive(Debug)]
pub struct Arguments {
    random: Random<'static>,
    resources: Vec<ResourceAny>,
}

impl Arguments {
    /// The same bytes give the same arguments.
    pub fn of(bytes: &[u8]) -> Arguments {
        // FNV-1a; any hash would do.
        let seed = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        Arguments {
            random: Random::seeded(seed | 1),
            resources: Vec::new(),
        }
    }

    /// Arguments for one call; none when the function wants a handle that nobody has given us.
    pub fn next(&mut self, ty: &FuncType) -> Option<Vec<Val>> {
        ty.params().map(|(_, t)| self.value(t)).collect()
    }

    fn value(&mut self, t: &Type) -> Option<Val> {
        if let Type::Own(rt) | Type::Borrow(rt) = t {
            let of_type = self.resources.iter().filter(|r| r.ty() == *rt);
            let of_type: Vec<_> = of_type.cloned().collect();
            // Also one that was given away before: that must be an error, and no harm.
            let index = self.random.below(of_type.len().max(1) as u64);
            return of_type.get(index).cloned().map(Val::Resource);
        }
        let contents = t.contents();
        let plain = !contents.resource && !contents.async_value;
        let small = elem_size(t, PtrType::I64) < 1 << 16;
        (plain && small).then(|| self.random.val(t))
    }

    /// Keeps what a call returned, for later calls.
    pub fn keep(&mut self, result: Option<Val>) {
        if let Some(Val::Resource(resource)) = result {
            self.resources.push(resource);
        }
    }
}

/// An arbitrary type, and arbitrary bytes as a guest's memory and core values: they are lifted or
/// trap, and what was lifted comes back as it was when it is lowered and lifted again.
pub fn lift_lower(bytes: &[u8]) {
    let mut random = Random::of_bytes(bytes);
    let mut cx = Mock::new();
    cx.string_encoding = match random.below(3) {
        0 => StringEncoding::Utf8,
        1 => StringEncoding::Utf16,
        _ => StringEncoding::Latin1Utf16,
    };
    cx.ptr_type = [PtrType::I32, PtrType::I64][random.below(2)];
    cx.peer = [Peer::Host, Peer::Guest][random.below(2)];
    let t = random.ty(4);
    let ptr = random.next() % 0x1_0010;
    let flat: Vec<u64> = flatten_type(&t, cx.ptr_type)
        .filter(|flat| flat.len() <= 16)
        .map(|flat| flat.as_slice().iter().map(|_| random.next()).collect())
        .unwrap_or_default();
    let length = random.bytes.len().min(cx.memory.len());
    cx.memory[..length].copy_from_slice(&random.bytes[..length]);
    let in_memory = lift_from_memory(&mut cx, &t, ptr);
    check(&cx, &t, in_memory);
    if !flat.is_empty() {
        let lifted = lift(&mut cx, &t, &flat);
        check(&cx, &t, lifted);
    }
}

fn check(cx: &Mock, t: &Type, lifted: Result<Val, Error>) {
    let v = match lifted {
        Ok(v) => v,
        Err(error) => match error.kind() {
            ErrorKind::Trap(_) | ErrorKind::Limit(_) => return,
            _ => panic!("{error}, for {t}"),
        },
    };
    assert_eq!(v.type_check(t), Ok(()), "{t}");
    let mut back = Mock::with_encoding(cx.string_encoding);
    back.ptr_type = cx.ptr_type;
    back.peer = cx.peer;
    back.memory = vec![0xff; 1 << 18];
    back.next = 1 << 16;
    back.budget = cx.budget * 2;
    const AT: u64 = 1 << 10;
    if elem_size(t, cx.ptr_type) > (1 << 16) - AT {
        return;
    }
    match store_at(&mut back, &v, t, AT).and_then(|()| lift_from_memory(&mut back, t, AT)) {
        Ok(again) => assert_eq!(again, v, "{t}, in memory"),
        Err(error) => fits(&error),
    }
    if flatten_type(t, cx.ptr_type).is_some_and(|flat| flat.len() <= 16) {
        let flat = lower(&mut back, &v, t).and_then(|flat| {
            let bits: Vec<u64> = flat.into_iter().map(|(_, bits)| bits).collect();
            lift(&mut back, t, &bits)
        });
        match flat {
            Ok(again) => assert_eq!(again, v, "{t}, flat"),
            Err(error) => fits(&error),
        }
    }
}

/// Lists that share their bytes need more memory than they came from: that alone may fail.
fn fits(error: &Error) {
    let full = matches!(
        error.trap(),
        Some(
            Trap::ReallocOutOfBounds
                | Trap::StringContentOutOfBounds
                | Trap::ListOutOfBounds
                | Trap::PointerOutOfBounds
        )
    );
    assert!(
        full || matches!(error.kind(), ErrorKind::Limit(_)),
        "{error}"
    );
}

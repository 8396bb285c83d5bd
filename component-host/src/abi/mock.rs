//! A mock of the guest, for tests and fuzzing of the value layer.

use super::flat_lifting::CoreValueIter;
use super::layout::FlatTypes;
use super::options::{LiftLower, Peer, PtrType};
use super::values::{lift_flat_values, lower_flat_values};
use crate::component::definitions::StringEncoding;
use crate::engine::{CoreType, CoreVal, core_val_from_bits, core_val_to_bits};
use crate::error::Error;
use crate::types::{Name, ResourceType, Type, ValueTypes};
use crate::val::{ErrorContextAny, FutureAny, ResourceAny, StreamAny, Val, receive, send};

/// A call of the mock's `realloc`: what the block was, its alignment, and what it shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Realloc {
    pub(crate) old_byte_length: u64,
    pub(crate) alignment: u32,
    pub(crate) new_byte_length: u64,
}

/// A guest of one page, whose `realloc` shrinks in place, and else moves up.
///
/// A handle's index is the representation, or the identity, plus 100.
pub(crate) struct Mock {
    pub(crate) string_encoding: StringEncoding,
    pub(crate) ptr_type: PtrType,
    pub(crate) peer: Peer,
    pub(crate) memory: Vec<u8>,
    pub(crate) next: u64,
    /// What `realloc` returns, instead.
    pub(crate) realloc_returns: Option<u64>,
    /// The memory's length after the next `realloc`.
    pub(crate) grow_to: Option<usize>,
    pub(crate) reallocs: Vec<Realloc>,
    pub(crate) charged: u64,
    pub(crate) budget: u64,
}

pub(crate) const PAGE: usize = 0x1_0000;
pub(crate) const HEAP: u64 = 0x400;

impl Mock {
    pub(crate) fn new() -> Mock {
        Mock {
            string_encoding: StringEncoding::Utf8,
            ptr_type: PtrType::I32,
            peer: Peer::Host,
            memory: vec![0; PAGE],
            next: HEAP,
            realloc_returns: None,
            grow_to: None,
            reallocs: Vec::new(),
            charged: 0,
            budget: 1 << 20,
        }
    }

    pub(crate) fn with_encoding(string_encoding: StringEncoding) -> Mock {
        Mock {
            string_encoding,
            ..Mock::new()
        }
    }

    #[cfg(test)]
    pub(crate) fn with_peer(peer: Peer) -> Mock {
        Mock {
            peer,
            ..Mock::new()
        }
    }

    #[cfg(test)]
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

impl LiftLower for Mock {
    fn string_encoding(&self) -> StringEncoding {
        self.string_encoding
    }

    fn ptr_type(&self) -> PtrType {
        self.ptr_type
    }

    fn peer(&self) -> Peer {
        self.peer
    }

    fn memory(&self) -> Result<&[u8], Error> {
        Ok(&self.memory)
    }

    fn memory_mut(&mut self) -> Result<&mut [u8], Error> {
        Ok(&mut self.memory)
    }

    fn reallocate(
        &mut self,
        old: u64,
        old_byte_length: u64,
        alignment: u32,
        new_byte_length: u64,
    ) -> Result<u64, Error> {
        self.reallocs.push(Realloc {
            old_byte_length,
            alignment,
            new_byte_length,
        });
        if let Some(length) = self.grow_to.take() {
            self.memory.resize(length, 0);
        }
        if let Some(ptr) = self.realloc_returns {
            return Ok(ptr);
        }
        if old != 0 && new_byte_length <= old_byte_length {
            return Ok(old);
        }
        let new = self.next.next_multiple_of(u64::from(alignment));
        self.next = new + new_byte_length;
        // One that does not fit is for the caller to find out.
        if self.next <= self.memory.len() as u64 {
            let old = old as usize;
            let old = old..old + old_byte_length as usize;
            self.memory.copy_within(old, new as usize);
        }
        Ok(new)
    }

    fn lift_own(&mut self, index: u32, rt: ResourceType) -> Result<ResourceAny, Error> {
        Ok(ResourceAny::own(rt, index.wrapping_sub(100)))
    }

    fn lift_borrow(&mut self, index: u32, rt: ResourceType) -> Result<ResourceAny, Error> {
        Ok(ResourceAny::borrow(rt, index.wrapping_sub(100)))
    }

    fn lower_own(&mut self, resource: &ResourceAny, _: ResourceType) -> Result<u32, Error> {
        Ok(resource.rep().wrapping_add(100))
    }

    fn lower_borrow(&mut self, resource: &ResourceAny, _: ResourceType) -> Result<u32, Error> {
        Ok(resource.rep().wrapping_add(100))
    }

    fn lift_stream(&mut self, index: u32, _: Option<&Type>) -> Result<Val, Error> {
        Ok(Val::Stream(StreamAny::new(u64::from(
            index.wrapping_sub(100),
        ))))
    }

    fn lift_future(&mut self, index: u32, _: Option<&Type>) -> Result<Val, Error> {
        Ok(Val::Future(FutureAny::new(u64::from(
            index.wrapping_sub(100),
        ))))
    }

    fn lower_stream(&mut self, value: &Val, _: Option<&Type>) -> Result<u32, Error> {
        match value {
            Val::Stream(stream) => Ok((stream.id() as u32).wrapping_add(100)),
            _ => panic!("not a stream"),
        }
    }

    fn lower_future(&mut self, value: &Val, _: Option<&Type>) -> Result<u32, Error> {
        match value {
            Val::Future(future) => Ok((future.id() as u32).wrapping_add(100)),
            _ => panic!("not a future"),
        }
    }

    fn lift_error_context(&mut self, index: u32) -> Result<ErrorContextAny, Error> {
        Ok(ErrorContextAny::new(index.wrapping_sub(100).to_string()))
    }

    fn lower_error_context(&mut self, value: &ErrorContextAny) -> Result<u32, Error> {
        Ok(value
            .debug_message()
            .parse::<u32>()
            .unwrap_or_default()
            .wrapping_add(100))
    }

    fn charge(&mut self, bytes: u64) -> Result<(), Error> {
        self.charged = self.charged.saturating_add(bytes);
        if self.charged > self.budget {
            return Err(Error::limit(
                "mock_budget",
                self.budget,
                "bytes",
                "raise it",
            ));
        }
        Ok(())
    }

    fn charge_tree(&mut self, bytes: u64) -> Result<(), Error> {
        match self.peer {
            Peer::Host => self.charge(bytes),
            Peer::Guest => Ok(()),
        }
    }
}

pub(crate) fn name(name: &str) -> Name {
    Name::from(name)
}

pub(crate) fn names(prefix: &str, count: usize) -> Vec<Name> {
    (0..count).map(|i| name(&format!("{prefix}{i}"))).collect()
}

/// Lowers as a parameter list of one, and gives the core values' types and bits.
pub(crate) fn lower(cx: &mut Mock, v: &Val, t: &Type) -> Result<Vec<(CoreType, u64)>, Error> {
    let ts = ValueTypes::new([t.clone()]);
    let mut flat = Vec::new();
    let vs = send(std::slice::from_ref(v), ts.types())?;
    lower_flat_values(cx, 16, vs, &ts, None, &mut flat)?;
    let flat = flat.iter().map(core_val_to_bits);
    Ok(flat.map(|core| core.expect("a number")).collect())
}

/// Lifts a parameter list of one from core values of the type's own flat types.
pub(crate) fn lift(cx: &mut Mock, t: &Type, bits: &[u64]) -> Result<Val, Error> {
    let flat = super::flattening::flatten_type(t, cx.ptr_type).expect("a flat type");
    let values = core_vals(&flat, bits);
    lift_core(cx, t, &values, 16)
}

/// Lifts a result that is in memory.
pub(crate) fn lift_from_memory(cx: &mut Mock, t: &Type, ptr: u64) -> Result<Val, Error> {
    let ptr_type = super::flattening::flat_ptr(cx.ptr_type);
    lift_core(cx, t, &[core_val_from_bits(ptr_type, ptr)], 0)
}

pub(crate) fn lift_core(
    cx: &mut Mock,
    t: &Type,
    values: &[CoreVal],
    max_flat: usize,
) -> Result<Val, Error> {
    let ts = ValueTypes::new([t.clone()]);
    let mut vi = CoreValueIter::new(values);
    let mut from = lift_flat_values(cx, max_flat, &mut vi, &ts)?.read();
    assert!(vi.done(), "all were taken");
    let mut vs = receive(ts.types(), &mut from)?;
    assert!(from.done(), "all were read");
    assert_eq!(vs.len(), 1);
    Ok(vs.remove(0))
}

pub(crate) fn core_vals(flat: &FlatTypes, bits: &[u64]) -> Vec<CoreVal> {
    assert_eq!(flat.len(), bits.len(), "as many core values as flat types");
    let typed = flat.as_slice().iter().zip(bits);
    typed
        .map(|(ft, bits)| core_val_from_bits(*ft, *bits))
        .collect()
}

/// Stores at `ptr`, as a result for which the caller gave an out-pointer.
pub(crate) fn store_at(cx: &mut Mock, v: &Val, t: &Type, ptr: u64) -> Result<(), Error> {
    let ts = ValueTypes::new([t.clone()]);
    let mut flat = Vec::new();
    let vs = send(std::slice::from_ref(v), ts.types())?;
    lower_flat_values(cx, 0, vs, &ts, Some(ptr), &mut flat)?;
    assert!(flat.is_empty(), "nothing is flat with an out-pointer");
    Ok(())
}

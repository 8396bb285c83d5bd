//! Spec: ### `canon error-context.*`

use super::canon_lift::CanonicalOptions;
use super::component_instances::{Handle, InstanceId};
use super::context::{LiftLowerContext, Scope};
use super::element_size::elem_size;
use super::loading::{in_bounds, is_aligned, load_string_from_range};
use super::options::{LiftLower as _, Peer, ptr_size};
use super::storing::store;
use crate::engine::Context;
use crate::error::{Error, trap_if};
use crate::store::State;
use crate::transit::Transit;
use crate::trap::Trap;
use crate::types::Type;
use crate::val::ErrorContextAny;

pub(crate) fn error_context_new(
    cx: &mut Context<'_>,
    inst: InstanceId,
    opts: &CanonicalOptions,
    ptr: u64,
    tagged_code_units: u64,
) -> Result<u32, Error> {
    cx.data().check_leave(inst)?;
    let mut lift = LiftLowerContext::new(cx, opts, inst, Scope::None, Peer::Host);
    let message = load_string_from_range(&mut lift, ptr, tagged_code_units)?;
    let context = ErrorContextAny::new(shortened(message.as_str()));
    cx.data_mut()
        .add_handle(inst, Handle::ErrorContext(context))
}

/// The host keeps the message, so it must not be as long as a guest likes. The specification lets a
/// host transform it in any way.
fn shortened(message: &str) -> &str {
    const MAX_BYTES: usize = 4 << 10;
    let mut end = message.len().min(MAX_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.get(..end).unwrap_or_default()
}

impl State {
    pub(super) fn error_context(&self, inst: InstanceId, i: u32) -> Result<ErrorContextAny, Error> {
        match self.instance(inst).handles.get(i)? {
            Handle::ErrorContext(context) => Ok(context.clone()),
            _ => Err(Trap::HandleWrongType {
                index: i,
                detail: "",
            }
            .into()),
        }
    }
}

pub(crate) fn error_context_debug_message(
    cx: &mut Context<'_>,
    inst: InstanceId,
    opts: &CanonicalOptions,
    i: u32,
    ptr: u64,
) -> Result<(), Error> {
    cx.data().check_leave(inst)?;
    let message = cx.data().error_context(inst, i)?;
    let mut from = Transit::new();
    from.text(message.debug_message().into());
    let mut lower = LiftLowerContext::new(cx, opts, inst, Scope::None, Peer::Host);
    let size = elem_size(&Type::String, opts.ptr_type);
    trap_if!(
        !is_aligned(ptr, ptr_size(opts.ptr_type)),
        Trap::UnalignedPointer
    );
    trap_if!(
        !in_bounds(lower.memory()?, ptr, size),
        Trap::PointerOutOfBounds
    );
    store(&mut lower, &mut from.read(), &Type::String, ptr)
}

pub(crate) fn error_context_drop(state: &mut State, inst: InstanceId, i: u32) -> Result<(), Error> {
    state.check_leave(inst)?;
    state.error_context(inst, i)?;
    state.remove_handle(inst, i)?;
    Ok(())
}

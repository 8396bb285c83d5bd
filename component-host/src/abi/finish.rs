//! What a built-in does once the wait, or the call, that suspended its guest is over.

use super::canon_lower::finish_lower;
use super::canon_stream::finish_end_event;
use super::canon_subtask::finish_cancel;
use super::stream_state::EndId;
use super::subtask_state::SubtaskId;
use super::threads::Block;
use super::waitable_state::{SetId, unpack_event};
use crate::engine::{Context, CoreMemory, CoreVal};
use crate::error::Error;

/// The rest of a built-in, as data.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Then {
    /// `thread.yield`, and whatever else returns 0 when it goes on.
    Yield,
    /// `waitable-set.wait`: writes the event to memory.
    WaitableSetWait {
        set: SetId,
        memory: CoreMemory,
        ptr: u64,
    },
    /// A lowered function: looks at the subtask again.
    Lower(SubtaskId),
    /// A synchronous copy of a stream or future end, or its cancellation.
    EndEvent(EndId),
    /// `subtask.cancel`: looks at the subtask again.
    SubtaskCancel { id: SubtaskId, async_: bool },
    /// `resource.drop`, whose destructor has returned.
    ResourceDrop,
    /// Nothing: it is core code whose slice of fuel is over.
    NextSlice,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Finish {
    /// The result of the built-in, if it has one.
    Value(Option<CoreVal>),
    /// It must block once more.
    Block(Block),
}

pub(crate) fn finish(cx: &mut Context<'_>, then: Then) -> Result<Finish, Error> {
    match then {
        Then::Yield => Ok(Finish::Value(Some(CoreVal::I32(0)))),
        Then::WaitableSetWait { set, memory, ptr } => {
            let event = cx.data_mut().set_get_pending_event(set)?;
            let code = unpack_event(cx, memory, ptr, event)?;
            Ok(Finish::Value(Some(CoreVal::I32(code as i32))))
        }
        Then::Lower(subtask) => finish_lower(cx, subtask),
        Then::EndEvent(end) => finish_end_event(cx.data_mut(), end),
        Then::SubtaskCancel { id, async_ } => finish_cancel(cx.data_mut(), id, async_),
        Then::ResourceDrop | Then::NextSlice => Ok(Finish::Value(None)),
    }
}

//! Spec: ## Component Instances

use super::resource_state::ResourceHandle;
use super::stream_state::EndId;
use super::subtask_state::SubtaskId;
use super::table_state::Table;
use super::threads::ThreadId;
use super::turns::Turns;
use super::waitable_state::SetId;
use crate::component::definitions::Name;
use crate::val::ErrorContextAny;
use std::rc::Rc;
use vestibule_executor::Group;

/// Names a component instance of a store; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct InstanceId(pub(crate) u32);

/// The run-time state of one component instance.
#[derive(Debug)]
pub(crate) struct ComponentInstance {
    /// How errors call it.
    pub(crate) name: Name,
    /// The instance it is nested in.
    pub(crate) parent: Option<InstanceId>,
    /// Its registered threads, while they wait, are tasks of this group: the candidates when a
    /// synchronous call into this instance blocks.
    pub(crate) group: Group,
    pub(crate) handles: Table<Handle>,
    pub(crate) threads: Table<ThreadId>,
    pub(crate) may_leave: bool,
    pub(crate) backpressure: u32,
    pub(crate) num_waiting_to_enter: u32,
    pub(crate) exclusive_thread: Option<ThreadId>,
    /// Threads that wait for `exclusive_thread` or `backpressure` to change.
    pub(crate) turns: Turns,
    /// Who trapped, once this instance is locked down: nothing enters it any more.
    pub(crate) locked_down_by: Option<Rc<str>>,
}

/// What a handle of an instance's table stands for.
#[derive(Debug)]
pub(crate) enum Handle {
    Resource(ResourceHandle),
    Subtask(SubtaskId),
    WaitableSet(SetId),
    End(EndId),
    ErrorContext(ErrorContextAny),
}

impl ComponentInstance {
    pub(crate) fn new(name: Name, parent: Option<InstanceId>, group: Group) -> ComponentInstance {
        ComponentInstance {
            name,
            parent,
            group,
            handles: Table::new(),
            threads: Table::new(),
            may_leave: true,
            backpressure: 0,
            num_waiting_to_enter: 0,
            exclusive_thread: None,
            turns: Turns::default(),
            locked_down_by: None,
        }
    }
}

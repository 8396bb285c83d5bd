//! Spec: ### Resource State

use super::canon_lift::Lifted;
use super::component_instances::InstanceId;
use super::tasks::TaskId;
use crate::func::HostFunc;
use crate::types::ResourceType;
use std::rc::Rc;

/// A resource, as one entry of an instance's handle table.
#[derive(Debug)]
pub(crate) struct ResourceHandle {
    pub(crate) rt: ResourceType,
    pub(crate) rep: u32,
    pub(crate) own: bool,
    /// The task whose call lent it to this instance; only a borrowed handle has one.
    pub(crate) borrow_scope: Option<TaskId>,
    pub(crate) num_lends: u32,
}

/// Who implements a resource type.
#[derive(Debug, Clone)]
pub(crate) enum ResourceImpl {
    Guest {
        inst: InstanceId,
        dtor: Option<Rc<Lifted>>,
    },
    /// The embedder, with a destructor that takes the representation.
    Host(Rc<HostFunc>),
}

//! Everything a store knows, kept as the data of the engine's store.

use super::drive::SyncCall;
use super::fuel::Fuel;
use super::{Event, Observer, StoreInner, StoreSnapshot, Totals};
use crate::abi::builtins::{Builtin, BuiltinKind, call_builtin};
use crate::abi::component_instances::{ComponentInstance, Handle, InstanceId};
use crate::abi::destructors::Destructors;
use crate::abi::host_buffer::Unwanted;
use crate::abi::host_call::Held;
use crate::abi::host_ends::HostEnd;
use crate::abi::host_resources::HostResources;
use crate::abi::resource_state::ResourceImpl;
use crate::abi::stream_state::{End, EndId, EndState};
use crate::abi::subtask_state::{Callee, Subtask};
use crate::abi::tasks::{Caller, Task};
use crate::abi::threads::{Block, Thread, ThreadId};
use crate::abi::turns::Turns;
use crate::abi::waitable_state::WaitableSet;
use crate::arena::Arena;
use crate::chain::ComponentPath;
use crate::component::definitions::Name;
use crate::config::Config;
use crate::engine::{self, Context, CoreFunc, CoreVal, Engine, Limiter};
use crate::error::{Error, ErrorKind, trap_if};
use crate::func::HostCall;
use crate::trap::Trap;
use crate::types::ResourceType;
use smallvec::SmallVec;
use std::any::Any;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::num::NonZeroU32;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU32, Ordering};
use vestibule_executor::{Group, Handle as Executor, JoinHandle};

/// The identity of a store, unique in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StoreId(NonZeroU32);

impl StoreId {
    /// Two alive at a time are alike only if four billion were made between them.
    fn fresh() -> StoreId {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let next = || NonZeroU32::new(NEXT.fetch_add(1, Ordering::Relaxed));
        StoreId(next().or_else(next).unwrap_or(NonZeroU32::MIN))
    }
}

/// The state of a store.
pub(crate) struct State {
    pub(crate) id: StoreId,
    pub(crate) config: Config,
    pub(crate) executor: Executor,
    pub(crate) group: Group,
    pub(crate) store: Weak<StoreInner>,
    pub(crate) unnamed: Name,

    instances: Vec<ComponentInstance>,
    pub(crate) tasks: Arena<Task>,
    pub(crate) threads: Arena<Thread>,
    pub(crate) subtasks: Arena<Subtask>,
    pub(crate) sets: Arena<WaitableSet>,
    pub(crate) ends: Arena<End>,
    pub(crate) builtins: Vec<Rc<Builtin>>,
    pub(crate) resources: HashMap<ResourceType, ResourceImpl>,
    /// What guests gave or lent to the host.
    pub(crate) host_resources: HostResources,
    handles: usize,
    pub(crate) totals: Totals,
    pub(crate) observer: Option<Rc<dyn Observer>>,
    /// Who waited for whom when a run last failed for want of time or of something to do.
    pub(crate) last_failure: Option<Box<StoreSnapshot>>,
    /// Host futures that have not resolved their subtask.
    pub(crate) host_futures: usize,
    /// The last ticket that was drawn (`abi/turns.rs`).
    pub(crate) tickets: u64,
    /// How often a guest thread was woken.
    #[cfg(test)]
    pub(crate) wakes: u64,
    /// The imports that were called, by name.
    pub(crate) called_imports: HashSet<Name>,

    /// The specification's native stack: the threads that run, innermost last.
    pub(crate) native: Vec<ThreadId>,
    /// The synchronous calls in progress, innermost last.
    pub(crate) sync_calls: Vec<SyncCall>,
    /// How many runs of guest code are inside one another on the real native stack.
    pub(crate) nesting: usize,
    /// The thread that takes the place of the one that is leaving the native stack.
    pub(crate) switch_to: Option<ThreadId>,
    /// Why the built-in that just suspended its guest did so.
    pub(crate) pending: Option<Block>,
    /// The error that is passing through the engine's frames.
    pub(crate) abort: Option<Error>,
    /// Whether the run in progress can be left to the executor and go on later.
    pub(crate) may_wait: bool,
    /// The host future that the run in progress, and so the store, is to wait for.
    pub(crate) held: Option<Held>,
    /// Whom to blame for what fails while no thread runs.
    pub(crate) blame: Option<Blame>,
    /// The host's call that the last failed run belongs to.
    pub(crate) failed_call: Option<Rc<HostCall>>,

    /// Vectors of core values, to be used again.
    spare_vals: Vec<Vec<CoreVal>>,
    pub(crate) fuel: Fuel,
    pub(crate) limiter: Limiter,
    pub(crate) aftermath: Aftermath,
    pub(crate) destructors: Destructors,
}

/// Who is behind a failure, although none of its threads runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blame {
    /// The instance that is locked down.
    pub(crate) inst: InstanceId,
    /// The thread whose call fails, unless it has ended.
    pub(crate) thread: Option<ThreadId>,
}

/// What a run left to be dropped and woken: foreign code, which must not run before the engine's
/// store is back.
#[derive(Default)]
pub(crate) struct Aftermath {
    host_tasks: Vec<JoinHandle<()>>,
    garbage: Vec<Box<dyn Any>>,
    // Most runs leave one, which needs no memory of its own.
    resolved: SmallVec<[Rc<HostCall>; 1]>,
    told: SmallVec<[Rc<HostEnd>; 1]>,
    pub(crate) unwanted: Vec<Unwanted>,
}

impl Aftermath {
    /// Aborts a host future.
    pub(crate) fn abort(&mut self, task: JoinHandle<()>) {
        self.host_tasks.push(task);
    }

    /// Drops something of the embedder's.
    pub(crate) fn drop_later(&mut self, garbage: impl Any) {
        self.garbage.push(Box::new(garbage));
    }

    /// Wakes whoever waits for a call.
    pub(crate) fn notify(&mut self, call: &Rc<HostCall>) {
        self.resolved.push(Rc::clone(call));
    }

    /// Tells a handle of the host's that its end has news.
    pub(crate) fn tell(&mut self, host: Rc<HostEnd>) {
        self.told.push(host);
    }

    /// Whether there is nothing to be done; what nobody wants is for the state itself.
    pub(crate) fn is_empty(&self) -> bool {
        self.host_tasks.is_empty()
            && self.garbage.is_empty()
            && self.resolved.is_empty()
            && self.told.is_empty()
    }

    /// Lets everything go.
    pub(crate) fn settle(self) {
        for task in self.host_tasks {
            task.abort();
        }
        for call in self.resolved {
            call.notify();
        }
        for host in self.told {
            host.event.set();
        }
    }
}

impl State {
    pub(crate) fn new(
        engine: &Engine,
        executor: Executor,
        group: Group,
        store: Weak<StoreInner>,
    ) -> State {
        let config = engine.config().clone();
        State {
            id: StoreId::fresh(),
            executor,
            group,
            store,
            unnamed: "(unnamed)".into(),
            instances: Vec::new(),
            tasks: Arena::new(),
            threads: Arena::new(),
            subtasks: Arena::new(),
            sets: Arena::new(),
            ends: Arena::new(),
            builtins: Vec::new(),
            resources: HashMap::new(),
            host_resources: HostResources::default(),
            handles: 0,
            totals: Totals::default(),
            observer: None,
            last_failure: None,
            host_futures: 0,
            tickets: 0,
            #[cfg(test)]
            wakes: 0,
            called_imports: HashSet::new(),
            native: Vec::new(),
            sync_calls: Vec::new(),
            nesting: 0,
            switch_to: None,
            pending: None,
            abort: None,
            may_wait: false,
            held: None,
            blame: None,
            failed_call: None,
            spare_vals: Vec::new(),
            fuel: Fuel::new(&config),
            limiter: Limiter::new(&config),
            aftermath: Aftermath::default(),
            destructors: Destructors::default(),
            config,
        }
    }

    /// Whether a run is in progress, although the engine's store is back.
    pub(crate) fn is_paused(&self) -> bool {
        !self.native.is_empty() || !self.sync_calls.is_empty()
    }

    /// Whether nothing is in progress.
    pub(crate) fn is_quiet(&self) -> bool {
        self.tasks.len() == 0
            && self.threads.len() == 0
            && self.host_futures == 0
            && !self.destructors.are_due()
    }

    /// A new entry into the guest begins.
    pub(crate) fn begin_entry(&mut self) {
        self.totals.entries += 1;
        debug_assert!(self.native.is_empty() && self.sync_calls.is_empty());
        self.nesting = 0;
        self.blame = None;
        self.failed_call = None;
    }

    pub(crate) fn new_instance(
        &mut self,
        name: Name,
        parent: Option<InstanceId>,
    ) -> Result<InstanceId, Error> {
        if self.instances.len() >= self.config.max_instances {
            return Err(self.limit_refused("max_instances"));
        }
        let id = InstanceId(self.instances.len() as u32);
        let group = self.group.subgroup(format!("component `{name}`"));
        self.instances
            .push(ComponentInstance::new(name, parent, group));
        Ok(id)
    }

    /// The names of an instance and of those around it.
    pub(crate) fn path(&self, id: InstanceId) -> ComponentPath {
        let instance = |id: &InstanceId| self.instance(*id);
        let outwards = std::iter::successors(Some(id), |id| instance(id).parent);
        let mut names: Vec<String> = outwards.map(|id| instance(&id).name.to_string()).collect();
        names.reverse();
        ComponentPath::new(names)
    }

    /// An instance. Ids are made by [`new_instance`](State::new_instance) alone.
    pub(crate) fn instance(&self, id: InstanceId) -> &ComponentInstance {
        &self.instances[id.0 as usize]
    }

    pub(crate) fn instance_mut(&mut self, id: InstanceId) -> &mut ComponentInstance {
        &mut self.instances[id.0 as usize]
    }

    pub(crate) fn instance_groups(&self) -> Vec<Group> {
        self.instances
            .iter()
            .map(|instance| instance.group.clone())
            .collect()
    }

    /// Traps when the instance was locked down.
    pub(crate) fn check_enter(&self, id: InstanceId) -> Result<(), Error> {
        trap_if!(
            self.instance(id).locked_down_by.is_some(),
            Trap::CannotEnterComponent
        );
        Ok(())
    }

    /// Traps when the instance may not leave.
    pub(crate) fn check_leave(&self, id: InstanceId) -> Result<(), Error> {
        trap_if!(!self.instance(id).may_leave, Trap::CannotLeaveComponent);
        Ok(())
    }

    pub(crate) fn add_handle(&mut self, inst: InstanceId, handle: Handle) -> Result<u32, Error> {
        if self.handles >= self.config.max_handles {
            return Err(self.limit_refused("max_handles"));
        }
        let index = self.instance_mut(inst).handles.add(handle)?;
        self.handles += 1;
        Ok(index)
    }

    pub(crate) fn remove_handle(&mut self, inst: InstanceId, index: u32) -> Result<Handle, Error> {
        let handle = self.instance_mut(inst).handles.remove(index)?;
        self.handles -= 1;
        Ok(handle)
    }

    /// Fails unless there is room for so many handles more.
    pub(crate) fn check_handles(&self, more: usize) -> Result<(), Error> {
        match self.handles.saturating_add(more) > self.config.max_handles {
            true => Err(self.limit_refused("max_handles")),
            false => Ok(()),
        }
    }

    /// Fails unless there is room for so many waitables more.
    pub(crate) fn check_waitables(&self, more: usize) -> Result<(), Error> {
        let live = self.sets.len() + self.subtasks.len() + self.ends.len();
        match live.saturating_add(more) > self.config.max_waitables {
            true => Err(self.limit_refused("max_waitables")),
            false => Ok(()),
        }
    }

    /// Fails unless there is room for one thread more.
    pub(crate) fn check_threads(&self) -> Result<(), Error> {
        match self.threads.len() >= self.config.max_threads {
            true => Err(self.limit_refused("max_threads")),
            false => Ok(()),
        }
    }

    /// Counts a handle that is not in an instance's table.
    pub(crate) fn count_handle(&mut self) -> Result<(), Error> {
        if self.handles >= self.config.max_handles {
            return Err(self.limit_refused("max_handles"));
        }
        self.handles += 1;
        Ok(())
    }

    /// Counts a handle that was counted before, and is given back.
    pub(crate) fn recount_handle(&mut self) {
        self.handles += 1;
    }

    /// An empty vector of core values; [`keep_vals`](State::keep_vals) takes it back.
    pub(crate) fn spare_vals(&mut self) -> Vec<CoreVal> {
        self.spare_vals.pop().unwrap_or_default()
    }

    /// Keeps a vector for the next call. One that is lost on the way, to an error or with a call
    /// that waits, is only freed.
    pub(crate) fn keep_vals(&mut self, mut vals: Vec<CoreVal>) {
        // As many as calls inside one another are likely to use.
        const KEPT: usize = 16;
        if self.spare_vals.len() < KEPT && vals.capacity() > 0 {
            vals.clear();
            self.spare_vals.push(vals);
        }
    }

    pub(crate) fn handle_count(&self) -> usize {
        self.handles
    }

    pub(crate) fn instance_count(&self) -> usize {
        self.instances.len()
    }

    pub(crate) fn uncount_handle(&mut self) {
        self.handles -= 1;
    }

    /// The error of a limit that was reached.
    pub(crate) fn limit_refused(&self, limit: &'static str) -> Error {
        let config = &self.config;
        let (value, unit, hint) = match limit {
            "max_memory" => (
                config.max_memory as u64,
                "bytes of linear memory in one store",
                "raise it with `Config::max_memory` or `--max-memory`",
            ),
            "max_table_elements" => (
                config.max_table_elements as u64,
                "table elements in one store",
                "raise it with `Config::max_table_elements`",
            ),
            "max_instances" => (
                config.max_instances as u64,
                "instances in one store",
                "raise it with `Config::max_instances`, or use a store for each component",
            ),
            "max_handles" => (
                config.max_handles as u64,
                "handles in one store",
                "raise it with `Config::max_handles`, or look for handles that are never dropped",
            ),
            "max_tasks" => (
                config.max_tasks as u64,
                "tasks in one store",
                "raise it with `Config::max_tasks`, or look for calls that never end",
            ),
            "max_threads" => (
                config.max_threads as u64,
                "guest threads in one store",
                "raise it with `Config::max_threads`, or look for threads that never end",
            ),
            "max_waitables" => (
                config.max_waitables as u64,
                "waitable sets, subtasks, stream and future ends in one store",
                "raise it with `Config::max_waitables`, or look for some that are never dropped",
            ),
            "max_stream_bytes" => (
                config.max_stream_bytes,
                "bytes in one copy between two stream ends",
                "raise it with `Config::max_stream_bytes`, or let the guest copy less at a time",
            ),
            "max_nesting" => (
                config.max_nesting as u64,
                "calls inside one another",
                "raise it with `Config::max_nesting` if the native stack is large enough",
            ),
            _ => (
                config.max_call_bytes,
                "bytes of values in one call",
                "raise it with `Config::max_call_bytes`",
            ),
        };
        Error::limit(limit, value, unit, hint)
    }

    /// The call from the host at the root of a thread's calls.
    pub(crate) fn root_call(&self, thread: ThreadId) -> Option<Rc<HostCall>> {
        let mut task = self.threads.get(thread)?.task?;
        loop {
            match &self.tasks.get(task)?.caller {
                Caller::Host(call) => return Some(Rc::clone(call)),
                Caller::Internal(_) => return None,
                Caller::Subtask(subtask) => {
                    let caller = self.subtasks.get(*subtask)?.caller;
                    task = self.threads.get(caller)?.task?;
                }
            }
        }
    }

    /// Locks instances down, and those that wait for a call into them: nothing enters them any
    /// more, their threads and handles are gone, and calls from the host that wait for them fail.
    pub(crate) fn lock_down(&mut self, instances: &[InstanceId]) {
        let Some(&culprit) = instances.first() else {
            return;
        };
        let by: Rc<str> = self.path(culprit).to_string().into();
        let instances = self.with_waiting_callers(instances);
        if self.observer.is_some() {
            let standing = |id: &&InstanceId| self.instance(**id).locked_down_by.is_none();
            for &id in instances.iter().filter(standing) {
                let component = self.path(id);
                self.emit(|_| Event::LockedDown {
                    component: &component,
                });
            }
        }
        let affected = |id: &InstanceId| instances.contains(id);
        self.fail_waiting_calls(&instances, &by);

        let threads: Vec<ThreadId> = self
            .threads
            .iter()
            .filter(|(_, thread)| affected(&thread.inst))
            .map(|(id, _)| id)
            .collect();
        for id in threads {
            if let Some(Thread {
                runner: Some(runner),
                ..
            }) = self.threads.remove(id)
            {
                self.aftermath.abort(runner);
            }
        }
        let tasks: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, task)| affected(&task.callee.inst))
            .map(|(id, _)| id)
            .collect();
        for id in tasks {
            self.tasks.remove(id);
        }
        let subtasks: Vec<_> = self
            .subtasks
            .iter()
            .filter(|(_, subtask)| affected(&subtask.lowered.inst))
            .map(|(id, _)| id)
            .collect();
        for id in subtasks {
            self.forget_borrows(id);
            if let Some(Subtask {
                callee: Callee::Host(task),
                ..
            }) = self.subtasks.remove(id)
            {
                self.host_futures -= 1;
                self.aftermath.abort(task);
            }
        }
        let mut ends: Vec<EndId> = Vec::new();
        for &id in &instances {
            let instance = self.instance_mut(id);
            instance
                .locked_down_by
                .get_or_insert_with(|| Rc::clone(&by));
            instance.exclusive_thread = None;
            instance.turns = Turns::default();
            drop(instance.threads.clear());
            let handles: Vec<Handle> = instance.handles.clear().collect();
            self.handles -= handles.len();
            for handle in handles {
                match handle {
                    Handle::WaitableSet(set) => drop(self.sets.remove(set)),
                    Handle::End(end) => ends.push(end),
                    Handle::Resource(_) | Handle::Subtask(_) | Handle::ErrorContext(_) => {}
                }
            }
        }
        // Who waits for a locked-down instance at the other end of a stream finds it dropped.
        for end in ends {
            if let Ok(end) = self.end_mut(end) {
                end.state = EndState::Done;
            }
            let _ = self.drop_end(end);
        }
    }

    /// The given instances, and all that have a call into one of them that will never return:
    /// what such a caller holds for the time of the call, it would hold for ever.
    fn with_waiting_callers(&self, instances: &[InstanceId]) -> BTreeSet<InstanceId> {
        let mut affected: BTreeSet<InstanceId> = instances.iter().copied().collect();
        let mut calls: Vec<(InstanceId, InstanceId)> = Vec::new();
        for (_, subtask) in self.subtasks.iter() {
            if let Callee::Task(task) = subtask.callee
                && let Some(task) = self.tasks.get(task)
            {
                calls.push((task.callee.inst, subtask.lowered.inst));
            }
        }
        loop {
            let before = affected.len();
            calls.retain(|(callee, caller)| {
                let lost = affected.contains(callee);
                if lost {
                    affected.insert(*caller);
                }
                !lost
            });
            if affected.len() == before {
                return affected;
            }
        }
    }

    /// Fails the host's calls that run in these instances, or wait for a call into them.
    fn fail_waiting_calls(&mut self, instances: &BTreeSet<InstanceId>, by: &Rc<str>) {
        let mut waiting = Vec::new();
        for (_, thread) in self.threads.iter() {
            if !instances.contains(&thread.inst) {
                continue;
            }
            let root = thread.task.and_then(|task| self.task_root(task));
            if let Some(call) = root
                && self
                    .failed_call
                    .as_ref()
                    .is_none_or(|failed| !Rc::ptr_eq(failed, &call))
            {
                waiting.push(call);
            }
        }
        for call in waiting {
            let poisoned = Error::new(ErrorKind::Poisoned { by: by.to_string() });
            call.resolve(&mut self.aftermath, Err(poisoned));
        }
    }

    fn task_root(&self, task: crate::abi::tasks::TaskId) -> Option<Rc<HostCall>> {
        match &self.tasks.get(task)?.caller {
            Caller::Host(call) => Some(Rc::clone(call)),
            Caller::Internal(_) => None,
            Caller::Subtask(subtask) => self.root_call(self.subtasks.get(*subtask)?.caller),
        }
    }
}

/// Makes the core function of a canonical definition.
pub(crate) fn define_builtin(
    cx: &mut Context<'_>,
    inst: InstanceId,
    kind: BuiltinKind,
    params: &[wasmparser::ValType],
    results: &[wasmparser::ValType],
) -> Result<CoreFunc, Error> {
    let state = cx.data_mut();
    let index = state.builtins.len();
    state.builtins.push(Rc::new(Builtin { inst, kind }));
    engine::host_func(cx, params, results, index, call_builtin)
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("instances", &self.instances.len())
            .finish_non_exhaustive()
    }
}

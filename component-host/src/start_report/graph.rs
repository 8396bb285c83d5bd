//! Follows calls from the start functions, across core instances and components.

use super::calls::ModuleCalls;
use super::{Perhaps, Reachable, ReachableKind, StartFunction, StartReport, unlike_the_component};
use crate::abi::builtins::{Builtin, BuiltinKind};
use crate::abi::canon_lower::{FuncInst, Lowered};
use crate::abi::resource_state::ResourceImpl;
use crate::error::{Result, bug};
use crate::instantiate::LinkedModule;
use crate::origin::CoreOrigin;
use crate::store::StoreInner;
use crate::types::ResourceType;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::Location;
use std::rc::Rc;
use wasmparser::FuncType;

/// A function of a core instance: the instance's id, and the function's index.
type Node = (u32, u32);

/// A call of a function, and what is not certain about it.
type Call = (Node, Option<Perhaps>);

/// Everything that was linked, and the calls in it.
pub(super) struct Graph {
    modules: HashMap<u32, (LinkedModule, Rc<ModuleCalls>)>,
    /// The ids of the core instances that have a start function, in order.
    starts: Vec<u32>,
    builtins: Vec<Rc<Builtin>>,
    resources: HashMap<ResourceType, ResourceImpl>,
    /// What an indirect call may reach.
    address_taken: Vec<Node>,
}

/// Where a search has come to a function from.
#[derive(Clone, Copy)]
struct Step {
    from: Option<Node>,
    perhaps: Option<Perhaps>,
}

impl Graph {
    pub(super) fn new(
        store: &Rc<StoreInner>,
        linked: Vec<LinkedModule>,
        binary: &[u8],
    ) -> Result<Graph> {
        let at = Location::caller();
        let (builtins, resources) = store.enter("report on start functions", at, |cx| {
            let state = cx.data();
            (state.builtins.clone(), state.resources.clone())
        })?;
        let mut graph = Graph {
            modules: HashMap::new(),
            starts: Vec::new(),
            builtins,
            resources,
            address_taken: Vec::new(),
        };
        // Instances of one module share its calls.
        let mut read: HashMap<usize, Rc<ModuleCalls>> = HashMap::new();
        for module in linked {
            let info = module.instance.module.info();
            let calls = match read.get(&info.range.start) {
                Some(calls) => Rc::clone(calls),
                None => {
                    let bytes = binary.get(info.range.clone());
                    let calls = ModuleCalls::read(bytes.ok_or_else(unlike_the_component)?)?;
                    let calls = Rc::new(calls);
                    read.insert(info.range.start, Rc::clone(&calls));
                    calls
                }
            };
            let id = module.instance.id;
            if info.start.is_some() {
                graph.starts.push(id);
            }
            let taken = calls.address_taken.iter().map(|func| (id, *func));
            graph.address_taken.extend(taken);
            graph.modules.insert(id, (module, calls));
        }
        Ok(graph)
    }

    pub(super) fn report(&self) -> Result<StartReport> {
        let starts = self.starts.iter().map(|id| {
            let (module, _) = self.module(*id)?;
            let start = module.instance.module.info().start;
            let start = start.ok_or_else(|| bug!("a start function is gone"))?;
            Ok(StartFunction {
                component: module.component.clone(),
                function: CoreOrigin::Start(module.instance.clone()).describe(),
                reaches: self.reaches((*id, start))?,
            })
        });
        Ok(StartReport {
            starts: starts.collect::<Result<_>>()?,
        })
    }

    fn module(&self, id: u32) -> Result<&(LinkedModule, Rc<ModuleCalls>)> {
        let module = self.modules.get(&id);
        module.ok_or_else(|| bug!("core instance {id} was not linked"))
    }

    /// All that can be reached from a function: first by what is certain, then by the rest.
    fn reaches(&self, start: Node) -> Result<Vec<Reachable>> {
        let mut found = Vec::new();
        let mut named: HashSet<(String, bool)> = HashSet::new();
        for all in [false, true] {
            let mut seen: HashMap<Node, Step> = HashMap::new();
            let mut queue = VecDeque::from([start]);
            let first = Step {
                from: None,
                perhaps: None,
            };
            seen.insert(start, first);
            while let Some(node) = queue.pop_front() {
                for (next, perhaps) in self.callees(node)? {
                    if perhaps.is_some() && !all {
                        continue;
                    }
                    if let Entry::Vacant(entry) = seen.entry(next) {
                        let from = Some(node);
                        entry.insert(Step { from, perhaps });
                        queue.push_back(next);
                    }
                }
                let Some((name, kind, may_block)) = self.leaf(node)? else {
                    continue;
                };
                if named.insert((name.clone(), may_block)) {
                    found.push(Reachable {
                        name,
                        kind,
                        may_block,
                        path: self.path(&seen, node)?,
                        perhaps: uncertain(&seen, node),
                    });
                }
            }
        }
        Ok(found)
    }

    /// The functions that a function may call.
    fn callees(&self, node: Node) -> Result<Vec<Call>> {
        let (id, func) = node;
        let (_, calls) = self.module(id)?;
        let Some(body) = calls.body(func) else {
            return self.behind_import(node);
        };
        let direct = body.direct.iter();
        let mut callees: Vec<Call> = direct.map(|func| ((id, *func), None)).collect();
        for ty in body.indirect.iter().filter_map(|ty| calls.ty(*ty)) {
            self.all_of_type(id, Perhaps::IndirectCall, |func| func == ty, &mut callees)?;
        }
        Ok(callees)
    }

    /// Every function of a type whose address is taken, those of the same component first.
    fn all_of_type(
        &self,
        from: u32,
        perhaps: Perhaps,
        fits: impl Fn(&FuncType) -> bool,
        callees: &mut Vec<Call>,
    ) -> Result<()> {
        let component = &self.module(from)?.0.component;
        for own in [true, false] {
            for &(id, func) in &self.address_taken {
                let (module, calls) = self.module(id)?;
                let here = module.component == *component;
                if here == own && calls.func_type(func).is_some_and(&fits) {
                    callees.push(((id, func), Some(perhaps)));
                }
            }
        }
        Ok(())
    }

    /// The core functions that a call of an imported function runs.
    fn behind_import(&self, node: Node) -> Result<Vec<Call>> {
        let origin = self.import(node)?;
        let mut callees = Vec::new();
        let mut add = |origin: &CoreOrigin, perhaps| {
            callees.extend(self.node(origin).map(|node| (node, perhaps)));
        };
        match self.builtin(origin).map(|builtin| &builtin.kind) {
            None => add(origin, None),
            // `realloc` and `post-return` are left out: they may not leave their instance.
            Some(BuiltinKind::Lower(lowered)) => {
                if let FuncInst::Lifted(lifted) = &lowered.func {
                    add(&lifted.entry.core, None);
                    add(&lifted.opts.origins.callback, Some(Perhaps::Callback));
                }
            }
            Some(BuiltinKind::ResourceDrop(ty)) => {
                if let Some(ResourceImpl::Guest { dtor, .. }) = self.resources.get(ty)
                    && let Some(dtor) = dtor
                {
                    add(&dtor.entry.core, Some(Perhaps::Destructor));
                }
            }
            Some(BuiltinKind::ThreadNewIndirect { param, .. }) => {
                let fits = |ty: &FuncType| ty.params() == [*param] && ty.results().is_empty();
                self.all_of_type(node.0, Perhaps::Thread, fits, &mut callees)?;
            }
            Some(_) => {}
        }
        Ok(callees)
    }

    fn import(&self, (id, func): Node) -> Result<&CoreOrigin> {
        let (module, _) = self.module(id)?;
        let import = module.func_imports.get(func as usize);
        import.ok_or_else(|| bug!("core instance {id} has no imported function {func}"))
    }

    fn node(&self, origin: &CoreOrigin) -> Option<Node> {
        let CoreOrigin::Export(instance, name) = origin else {
            return None;
        };
        let func = instance.module.info().exported_func(name)?;
        Some((instance.id, func))
    }

    fn builtin(&self, origin: &CoreOrigin) -> Option<&Builtin> {
        match origin {
            CoreOrigin::Builtin(index) => self.builtins.get(*index).map(|builtin| &**builtin),
            _ => None,
        }
    }

    fn lowered(&self, origin: &CoreOrigin) -> Option<&Rc<Lowered>> {
        match &self.builtin(origin)?.kind {
            BuiltinKind::Lower(lowered) => Some(lowered),
            _ => None,
        }
    }

    /// What a function is, when it is an import of the component or a built-in.
    fn leaf(&self, node: Node) -> Result<Option<(String, ReachableKind, bool)>> {
        let (id, func) = node;
        if self.module(id)?.1.body(func).is_some() {
            return Ok(None);
        }
        let origin = self.import(node)?;
        if let Some(lowered) = self.lowered(origin) {
            let kind = match lowered.ty().is_async() {
                true => ReachableKind::AsyncImport,
                false => ReachableKind::Import,
            };
            let may_block = lowered.ty().is_async() && !lowered.opts.async_;
            // A function of another component is followed, and named only when it may block.
            let host = matches!(lowered.func, FuncInst::Host(_));
            let leaf = (lowered.func.name().to_string(), kind, may_block);
            return Ok((host || may_block).then_some(leaf));
        }
        Ok(self.builtin(origin).and_then(|builtin| {
            let (name, may_block) = builtin.kind.describe()?;
            Some((name.to_owned(), ReachableKind::Builtin, may_block))
        }))
    }

    /// The names of the functions from the start function to the one that calls `node`.
    fn path(&self, seen: &HashMap<Node, Step>, node: Node) -> Result<Vec<String>> {
        let mut path = Vec::new();
        let mut at = seen.get(&node).and_then(|step| step.from);
        while let Some((id, func)) = at {
            let (module, calls) = self.module(id)?;
            // An import stands for what is behind it.
            if calls.body(func).is_some() {
                let name = module.instance.module.info().func_name(func);
                path.push(
                    name.map_or_else(|| format!("function {func}"), |name| format!("${name}")),
                );
            }
            at = seen.get(&(id, func)).and_then(|step| step.from);
        }
        // A start function that is an import itself.
        if path.is_empty() {
            let (module, _) = self.module(node.0)?;
            path.push(match module.instance.module.info().func_name(node.1) {
                Some(name) => format!("${name}"),
                None => format!("function {}", node.1),
            });
        }
        path.reverse();
        Ok(path)
    }
}

/// What is not certain about the way from the start function to `node`, in order.
fn uncertain(seen: &HashMap<Node, Step>, node: Node) -> Vec<Perhaps> {
    let mut uncertain = Vec::new();
    let mut at = seen.get(&node);
    while let Some(step) = at {
        if let Some(perhaps) = step.perhaps
            && !uncertain.contains(&perhaps)
        {
            uncertain.insert(0, perhaps);
        }
        at = step.from.and_then(|from| seen.get(&from));
    }
    uncertain
}

impl BuiltinKind {
    /// Its name, and whether it may wait; none for what never leaves the instance's own affairs.
    fn describe(&self) -> Option<(&'static str, bool)> {
        let of = |future: bool, stream: &'static str, other: &'static str| match future {
            true => other,
            false => stream,
        };
        Some(match self {
            BuiltinKind::WaitableSetWait(_) => ("waitable-set.wait", true),
            BuiltinKind::WaitableSetPoll(_) => ("waitable-set.poll", false),
            BuiltinKind::SubtaskCancel { async_ } => ("subtask.cancel", !async_),
            BuiltinKind::ThreadSuspend => ("thread.suspend", true),
            BuiltinKind::ThreadYield => ("thread.yield", false),
            BuiltinKind::ThreadNewIndirect { .. } => ("thread.new-indirect", false),
            BuiltinKind::ThreadSwitch { .. } => ("thread switch", true),
            BuiltinKind::Copy { ty, readable, opts } => {
                let name = match readable {
                    true => of(ty.future, "stream.read", "future.read"),
                    false => of(ty.future, "stream.write", "future.write"),
                };
                (name, !opts.async_)
            }
            BuiltinKind::CancelCopy {
                ty,
                readable,
                async_,
            } => {
                let name = match readable {
                    true => of(ty.future, "stream.cancel-read", "future.cancel-read"),
                    false => of(ty.future, "stream.cancel-write", "future.cancel-write"),
                };
                (name, !async_)
            }
            BuiltinKind::ResourceDrop(_) => ("resource.drop", false),
            BuiltinKind::NotYet(name) => (name, false),
            _ => return None,
        })
    }
}

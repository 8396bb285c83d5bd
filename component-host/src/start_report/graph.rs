//! Follows calls from the start functions, across core instances and components.

use super::calls::ModuleCalls;
use super::{Reachable, ReachableKind, StartFunction, StartReport, unlike_the_component};
use crate::abi::builtins::{Builtin, BuiltinKind};
use crate::abi::canon_lower::{FuncInst, Lowered};
use crate::error::{Result, bug};
use crate::instantiate::LinkedModule;
use crate::origin::CoreOrigin;
use crate::store::StoreInner;
use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::Location;
use std::rc::Rc;

/// A function of a core instance: the instance's id, and the function's index.
type Node = (u32, u32);

/// Everything that was linked, and the calls in it.
pub(super) struct Graph {
    modules: HashMap<u32, (LinkedModule, Rc<ModuleCalls>)>,
    /// The ids of the core instances that have a start function, in order.
    starts: Vec<u32>,
    builtins: Vec<Rc<Builtin>>,
    /// What an indirect call may reach.
    address_taken: Vec<Node>,
}

/// Where a search has come to a function from.
#[derive(Clone, Copy)]
struct Step {
    from: Option<Node>,
    indirect: bool,
}

impl Graph {
    pub(super) fn new(
        store: &Rc<StoreInner>,
        linked: Vec<LinkedModule>,
        binary: &[u8],
    ) -> Result<Graph> {
        let at = Location::caller();
        let builtins = store.enter("report on start functions", at, |cx| {
            cx.data().builtins.clone()
        })?;
        let mut graph = Graph {
            modules: HashMap::new(),
            starts: Vec::new(),
            builtins,
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

    /// All that can be reached from a function: first without indirect calls, then with them.
    fn reaches(&self, start: Node) -> Result<Vec<Reachable>> {
        let mut found = Vec::new();
        let mut named: HashSet<(String, bool)> = HashSet::new();
        for with_indirect in [false, true] {
            let mut seen: HashMap<Node, Step> = HashMap::new();
            let mut queue = VecDeque::from([start]);
            let first = Step {
                from: None,
                indirect: false,
            };
            seen.insert(start, first);
            while let Some(node) = queue.pop_front() {
                let indirect = seen.get(&node).is_some_and(|step| step.indirect);
                for (next, by_indirect) in self.callees(node, with_indirect)? {
                    let step = Step {
                        from: Some(node),
                        indirect: indirect || by_indirect,
                    };
                    if let std::collections::hash_map::Entry::Vacant(entry) = seen.entry(next) {
                        entry.insert(step);
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
                        indirect,
                    });
                }
            }
        }
        Ok(found)
    }

    /// The functions that a function may call.
    fn callees(&self, node: Node, with_indirect: bool) -> Result<Vec<(Node, bool)>> {
        let (id, func) = node;
        let (_, calls) = self.module(id)?;
        let Some(body) = calls.body(func) else {
            return Ok(self
                .behind_import(node)?
                .into_iter()
                .map(|node| (node, false))
                .collect());
        };
        let mut callees: Vec<_> = body
            .direct
            .iter()
            .map(|func| ((id, *func), false))
            .collect();
        if with_indirect {
            for ty in &body.indirect {
                let Some(ty) = calls.ty(*ty) else { continue };
                for &(id, func) in &self.address_taken {
                    let (_, calls) = self.module(id)?;
                    if calls.func_type(func) == Some(ty) {
                        callees.push(((id, func), true));
                    }
                }
            }
        }
        Ok(callees)
    }

    /// The core function that an imported function is, when it is one.
    fn behind_import(&self, node: Node) -> Result<Option<Node>> {
        let origin = self.import(node)?;
        Ok(match origin {
            CoreOrigin::Builtin(_) => match self.lowered(origin) {
                Some(lowered) => match &lowered.func {
                    FuncInst::Lifted(lifted) => self.node(&lifted.entry.core)?,
                    FuncInst::Host(_) => None,
                },
                None => None,
            },
            other => self.node(other)?,
        })
    }

    fn import(&self, (id, func): Node) -> Result<&CoreOrigin> {
        let (module, _) = self.module(id)?;
        let import = module.func_imports.get(func as usize);
        import.ok_or_else(|| bug!("core instance {id} has no imported function {func}"))
    }

    fn node(&self, origin: &CoreOrigin) -> Result<Option<Node>> {
        let CoreOrigin::Export(instance, name) = origin else {
            return Ok(None);
        };
        let func = instance.module.info().exported_func(name);
        Ok(func.map(|func| (instance.id, func)))
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

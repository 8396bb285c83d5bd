//! Resources at the boundary between guests and the embedder.
//!
//! Spec: ## Embedding API, where the host is one more owner of handles. A resource that a guest
//! implements and the host owns is an entry of a table here, since the value that the embedder
//! holds can be copied. Within `abi/` values carry no such entries: what guests give is entered
//! while it is lifted ([`State::hold_own`]), and what the host gives is checked and taken out
//! before anything is lowered ([`State::give`]), so that the embedder's mistakes are found before
//! guest code runs.

use super::canon_lift::Lifted;
use super::destructors::call_guest_dtor;
use super::host_call::catch;
use super::host_ends::not_usable;
use super::resource_state::ResourceImpl;
use super::stream_state::Holder;
use super::subtask_state::SubtaskId;
use crate::arena::Id;
use crate::error::{Error, Result};
use crate::func::{HostCall, HostFunc, HostKind};
use crate::store::drive::{self, Base};
use crate::store::{State, Store, StoreId};
use crate::transit::Transit;
use crate::types::{ResourceType, Type};
use crate::val::{FutureAny, Held, ResourceAny, StreamAny, Val};
use std::collections::{HashMap, HashSet};
use std::panic::Location;
use std::rc::Rc;

/// Names a handle that the host has, in all stores, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostHandleId {
    store: StoreId,
    number: u32,
}

/// An owned resource of a guest's, in the hands of the host.
#[derive(Debug, Default)]
struct HostHandle {
    /// The host's calls that it was lent to; those that have returned no longer count.
    lent_to: Vec<Rc<HostCall>>,
}

/// What guests gave or lent to the host.
#[derive(Debug, Default)]
pub(crate) struct HostResources {
    owned: HashMap<HostHandleId, HostHandle>,
    /// The call that each borrow was lent with.
    borrowed: HashMap<HostHandleId, SubtaskId>,
    /// The borrows that each call lent.
    lent_with: HashMap<SubtaskId, Vec<HostHandleId>>,
    /// How many handles there have been.
    numbered: u32,
    /// Calls of the host's to which it passed on what a subtask had lent it.
    passed_on: HashMap<SubtaskId, Vec<Rc<HostCall>>>,
}

/// What is to be called when the host drops a resource.
pub(super) enum Destructor {
    None,
    Guest(Rc<Lifted>),
    Host(Rc<HostFunc>),
}

impl State {
    fn implemented_by_guest(&self, rt: ResourceType) -> bool {
        matches!(self.resources.get(&rt), Some(ResourceImpl::Guest { .. }))
    }

    /// A guest gives the host an `own`.
    pub(crate) fn hold_own(&mut self, rt: ResourceType, rep: u32) -> Result<ResourceAny> {
        if !self.implemented_by_guest(rt) {
            return Ok(ResourceAny::own(rt, rep));
        }
        self.count_handle()?;
        let id = self.new_host_handle();
        let handle = HostHandle::default();
        self.host_resources.owned.insert(id, handle);
        Ok(ResourceAny::new(rt, rep, true, Some(id)))
    }

    /// A guest lends the host a `borrow`, until the subtask is resolved.
    pub(crate) fn hold_borrow(
        &mut self,
        rt: ResourceType,
        rep: u32,
        lender: SubtaskId,
    ) -> ResourceAny {
        if !self.implemented_by_guest(rt) {
            return ResourceAny::borrow(rt, rep);
        }
        let id = self.new_host_handle();
        let resources = &mut self.host_resources;
        resources.borrowed.insert(id, lender);
        resources.lent_with.entry(lender).or_default().push(id);
        ResourceAny::new(rt, rep, false, Some(id))
    }

    fn new_host_handle(&mut self) -> HostHandleId {
        // It would take four billion handles in one store for two to have the same number.
        let number = &mut self.host_resources.numbered;
        *number = number.wrapping_add(1);
        HostHandleId {
            store: self.id,
            number: *number,
        }
    }

    /// The host gives values to a guest: as arguments of `call`, or as results of a host function.
    /// Resources leave the host's table, or are lent for as long as the call takes.
    ///
    /// # Errors
    ///
    /// `Resource` when the host may not give one of them; then nothing has changed.
    pub(crate) fn give(&mut self, values: &mut Transit, call: Option<&Rc<HostCall>>) -> Result<()> {
        if !values.has_handles() {
            return Ok(());
        }
        let handles = values.handles();
        let parts = handles.filter_map(|(value, ty)| Some((Part::of(value)?, ty)));
        self.give_parts(parts.collect(), call)
    }

    /// As [`give`](State::give), for items of a stream or a future.
    pub(crate) fn give_parts_of(&mut self, items: &mut [Val], ty: &Type) -> Result<()> {
        let mut parts = Vec::new();
        visit_all(items.iter_mut().map(|item| (item, ty)), &mut parts);
        self.give_parts(parts, None)
    }

    /// Gives items of a stream or a future back to the host: what [`give_parts_of`] took.
    ///
    /// [`give_parts_of`]: State::give_parts_of
    pub(super) fn take_back_parts_of(&mut self, items: &mut [Val], ty: &Type) {
        let mut parts = Vec::new();
        visit_all(items.iter_mut().map(|item| (item, ty)), &mut parts);
        for (part, ty) in parts {
            match part {
                Part::Resource(resource) if self.implemented_by_guest(resource.ty()) => {
                    self.recount_handle();
                    let id = self.new_host_handle();
                    let handle = HostHandle::default();
                    self.host_resources.owned.insert(id, handle);
                    *resource = ResourceAny::new(resource.ty(), resource.rep(), true, Some(id));
                }
                Part::Resource(_) => {}
                Part::End(end) => {
                    let (_, _, id) = end.expected(ty, self.id);
                    let end = id
                        .and_then(Id::from_bits)
                        .and_then(|id| self.ends.get_mut(id));
                    if let Some(end) = end
                        && end.holder == Holder::Given
                    {
                        end.holder = Holder::Host;
                        self.recount_handle();
                    }
                }
            }
        }
    }

    fn give_parts(
        &mut self,
        mut parts: Vec<(Part<'_>, &Type)>,
        call: Option<&Rc<HostCall>>,
    ) -> Result<()> {
        let (mut given, mut lent) = (HashSet::new(), Vec::new());
        let mut ends = HashSet::new();
        for (part, ty) in &parts {
            let resource = match part {
                Part::Resource(resource) => resource,
                Part::End(end) => {
                    let (future, t, id) = end.expected(ty, self.id);
                    self.check_given_end(future, t, id)?;
                    match ends.insert(id) {
                        true => continue,
                        false => return Err(not_usable()),
                    }
                }
            };
            self.check_held(resource)?;
            match (resource.held(), ty) {
                (Held::Own(id), Type::Own(_)) => {
                    self.check_not_lent(resource, id)?;
                    if !given.insert(id) {
                        return Err(unusable(resource, "it is given twice in one call"));
                    }
                }
                (Held::Own(id), _) => lent.push((**resource, id)),
                (Held::Borrow(..) | Held::Free, _) => {}
            }
        }
        if let Some((resource, _)) = lent.iter().find(|(_, id)| given.contains(id)) {
            return Err(unusable(resource, "it is given and lent in one call"));
        }
        for (part, ty) in &mut parts {
            let resource = match part {
                Part::Resource(resource) => resource,
                Part::End(end) => {
                    let (_, _, id) = end.expected(ty, self.id);
                    let given = self.take_given_end(id)?;
                    end.set(self.id, given.to_bits());
                    continue;
                }
            };
            match (resource.held(), ty, call) {
                (Held::Own(id), Type::Own(_), _) => self.let_go(id),
                (Held::Own(id), _, Some(call)) => self.lend(id, call),
                (Held::Borrow(id), _, Some(call)) => {
                    let resources = &mut self.host_resources;
                    if let Some(&lender) = resources.borrowed.get(&id) {
                        let calls = resources.passed_on.entry(lender).or_default();
                        calls.push(Rc::clone(call));
                    }
                }
                _ => {}
            }
            resource.set_free();
        }
        Ok(())
    }

    fn lend(&mut self, id: HostHandleId, call: &Rc<HostCall>) {
        if let Some(handle) = self.host_resources.owned.get_mut(&id) {
            // Only when it would grow, so that a resource lent to many calls is not looked through
            // for each of them.
            if handle.lent_to.len() == handle.lent_to.capacity() {
                handle.lent_to.retain(|call| !call.is_resolved());
            }
            handle.lent_to.push(Rc::clone(call));
        }
    }

    fn let_go(&mut self, id: HostHandleId) {
        if self.host_resources.owned.remove(&id).is_some() {
            self.uncount_handle();
        }
    }

    /// A host function returns: nobody may have what was lent to it any more.
    pub(crate) fn end_borrows(&mut self, lender: SubtaskId) -> Result<()> {
        let passed_on = self.forget_borrows(lender);
        if passed_on.iter().any(|call| !call.is_resolved()) {
            return Err(Error::resource(
                "a host function returned while a call that it made still borrows a resource that \
                 it was lent: await the call first",
            ));
        }
        Ok(())
    }

    /// Ends what a call lent, and returns the calls of the host's that it was passed on to.
    pub(crate) fn forget_borrows(&mut self, lender: SubtaskId) -> Vec<Rc<HostCall>> {
        let resources = &mut self.host_resources;
        if resources.lent_with.is_empty() && resources.passed_on.is_empty() {
            return Vec::new();
        }
        for id in resources.lent_with.remove(&lender).into_iter().flatten() {
            resources.borrowed.remove(&id);
        }
        resources.passed_on.remove(&lender).unwrap_or_default()
    }

    /// Whether the host may use a resource at all.
    fn check_held(&self, resource: &ResourceAny) -> Result<()> {
        let (Held::Own(id) | Held::Borrow(id)) = resource.held() else {
            return match self.implemented_by_guest(resource.ty()) {
                false => Ok(()),
                true => Err(unusable(
                    resource,
                    "a guest implements that type, so that the embedder cannot make one itself",
                )),
            };
        };
        if id.store != self.id {
            return Err(unusable(
                resource,
                "it belongs to another store than the one it is used with",
            ));
        }
        match resource.held() {
            Held::Own(id) if !self.host_resources.owned.contains_key(&id) => Err(unusable(
                resource,
                "the host does not have it any more: it was given away or dropped",
            )),
            Held::Borrow(id) if !self.host_resources.borrowed.contains_key(&id) => Err(unusable(
                resource,
                "it was lent for the time of a call, which has returned",
            )),
            _ => Ok(()),
        }
    }

    fn check_not_lent(&self, resource: &ResourceAny, id: HostHandleId) -> Result<()> {
        let lent_to = self.host_resources.owned.get(&id);
        let lent_to = lent_to.map_or(&[][..], |handle| &handle.lent_to);
        if lent_to.iter().any(|call| !call.is_resolved()) {
            return Err(unusable(
                resource,
                "it is lent to a call that has not returned: cannot remove owned resource while \
                 borrowed",
            ));
        }
        Ok(())
    }

    /// The host drops a resource.
    fn drop_held(&mut self, resource: &ResourceAny) -> Result<Destructor> {
        self.check_held(resource)?;
        if let Held::Own(id) = resource.held() {
            self.check_not_lent(resource, id)?;
            self.let_go(id);
        }
        if !resource.owned() {
            return Ok(Destructor::None);
        }
        Ok(self.destructor(resource.ty()))
    }

    /// What is to be called when the last handle of a resource of this type is dropped.
    fn destructor(&self, rt: ResourceType) -> Destructor {
        match self.resources.get(&rt) {
            Some(ResourceImpl::Guest {
                dtor: Some(dtor), ..
            }) => Destructor::Guest(Rc::clone(dtor)),
            Some(ResourceImpl::Host(dtor)) => Destructor::Host(Rc::clone(dtor)),
            Some(ResourceImpl::Guest { dtor: None, .. }) | None => Destructor::None,
        }
    }

    /// Nobody wants the value that a resource is in: when that owns it, its destructor is due.
    pub(super) fn drop_unwanted(&mut self, resource: &ResourceAny) {
        let destructor = match resource.held() {
            // On its way: nobody else has it.
            Held::Free if resource.owned() => self.destructor(resource.ty()),
            // What the host cannot drop, it goes on having.
            Held::Own(_) => self.drop_held(resource).unwrap_or(Destructor::None),
            Held::Free | Held::Borrow(_) => Destructor::None,
        };
        if !matches!(destructor, Destructor::None) {
            self.destructors.add(destructor, resource.rep());
        }
    }
}

impl ResourceAny {
    /// Drops the resource: runs its destructor, when the type has one and this is an `own`.
    ///
    /// A guest's destructor runs as a synchronous call, to its end. A host function cannot drop a
    /// guest's resource while the guest waits for it; it can [defer](crate::Caller::defer) that.
    ///
    /// # Errors
    ///
    /// `Resource` when the resource was given away or dropped before, is lent to a call that has
    /// not returned, or belongs to another store; the destructor's trap or error; `Refused` with
    /// `StoreBusy` when guest code of this store is running.
    #[track_caller]
    pub fn resource_drop<T: 'static>(self, store: &Store<T>) -> Result<()> {
        const ATTEMPTED: &str = "drop a resource";
        let at = Location::caller();
        let store = &store.inner;
        let dtor = store.enter(ATTEMPTED, at, |cx| cx.data_mut().drop_held(&self))??;
        match dtor {
            Destructor::None => Ok(()),
            Destructor::Host(dtor) => call_host_dtor(&dtor, self.rep()),
            Destructor::Guest(dtor) => {
                drive::run_to_end(store, &Base::synchronous(at), ATTEMPTED, |cx| {
                    call_guest_dtor(cx, &dtor, self.rep())
                })
            }
        }
    }
}

/// Calls the destructor of a resource type that the embedder implements.
pub(crate) fn call_host_dtor(dtor: &HostFunc, rep: u32) -> Result<()> {
    let HostKind::Plain(function) = &dtor.kind else {
        return Err(crate::error::bug!("a destructor is async"));
    };
    let mut args = Transit::new();
    args.word(u64::from(rep));
    catch(|| function(args))
        .map(drop)
        .map_err(|error| error.with_frame(dtor.frame()))
}

fn unusable(resource: &ResourceAny, why: &str) -> Error {
    Error::resource(format!(
        "{} (representation {}) cannot be used: {why}",
        resource.handle_type(),
        resource.rep()
    ))
}

/// A part of a value that belongs to a store.
enum Part<'a> {
    Resource(&'a mut ResourceAny),
    End(EndPart<'a>),
}

enum EndPart<'a> {
    Stream(&'a mut StreamAny),
    Future(&'a mut FutureAny),
}

impl<'a> Part<'a> {
    fn of(value: &'a mut Val) -> Option<Part<'a>> {
        Some(match value {
            Val::Resource(resource) => Part::Resource(resource),
            Val::Stream(stream) => Part::End(EndPart::Stream(stream)),
            Val::Future(future) => Part::End(EndPart::Future(future)),
            _ => return None,
        })
    }
}

impl EndPart<'_> {
    /// Whether it is a future, the element type that is expected, and its identity in the store.
    fn expected<'t>(&self, ty: &'t Type, store: StoreId) -> (bool, Option<&'t Type>, Option<u64>) {
        let t = match ty {
            Type::Stream(t) | Type::Future(t) => t.as_deref(),
            _ => None,
        };
        match self {
            EndPart::Stream(stream) => (false, t, stream.id_in(store)),
            EndPart::Future(future) => (true, t, future.id_in(store)),
        }
    }

    fn set(&mut self, store: StoreId, id: u64) {
        match self {
            EndPart::Stream(stream) => **stream = StreamAny::in_store(store, id),
            EndPart::Future(future) => **future = FutureAny::in_store(store, id),
        }
    }
}

fn visit_all<'a>(
    values: impl Iterator<Item = (&'a mut Val, &'a Type)>,
    parts: &mut Vec<(Part<'a>, &'a Type)>,
) {
    values.for_each(|(value, ty)| visit(value, ty, parts));
}

/// Collects the resources and ends in a value. One that is not of its type is left to those who
/// lower it.
fn visit<'a>(value: &'a mut Val, ty: &'a Type, parts: &mut Vec<(Part<'a>, &'a Type)>) {
    if !ty.contents().resource && !ty.contents().async_value {
        return;
    }
    match (value, ty) {
        (Val::Resource(resource), Type::Own(rt) | Type::Borrow(rt)) => {
            let fits = resource.ty() == *rt;
            parts.extend(fits.then_some((Part::Resource(resource), ty)));
        }
        (Val::Stream(stream), Type::Stream(_)) => {
            parts.push((Part::End(EndPart::Stream(stream)), ty));
        }
        (Val::Future(future), Type::Future(_)) => {
            parts.push((Part::End(EndPart::Future(future)), ty));
        }
        (Val::List(values), Type::List(list)) => {
            visit_all(values.iter_mut().map(|value| (value, list.ty())), parts);
        }
        (Val::List(values), Type::FixedLengthList(list)) => {
            visit_all(values.iter_mut().map(|value| (value, list.ty())), parts);
        }
        (Val::Map(entries), Type::Map(map)) => {
            for (key, value) in entries {
                visit(key, map.key(), parts);
                visit(value, map.value(), parts);
            }
        }
        (Val::Record(fields), Type::Record(record)) => {
            for (name, value) in fields {
                let mut types = record.named_fields().iter();
                if let Some((_, ty)) = types.find(|(field, _)| field == name) {
                    visit(value, ty, parts);
                }
            }
        }
        (Val::Tuple(values), Type::Tuple(tuple)) => {
            visit_all(values.iter_mut().zip(tuple.types()), parts);
        }
        (Val::Variant(name, Some(value)), Type::Variant(variant)) => {
            let case = variant.find(name);
            let case = case.and_then(|case| variant.named_cases().get(case as usize));
            if let Some(ty) = case.and_then(|(_, ty)| ty.as_ref()) {
                visit(value, ty, parts);
            }
        }
        (Val::Option(Some(value)), Type::Option(option)) => visit(value, option.ty(), parts),
        (Val::Result(Ok(Some(value))), Type::Result(result)) => {
            if let Some(ty) = result.ok() {
                visit(value, ty, parts);
            }
        }
        (Val::Result(Err(Some(value))), Type::Result(result)) => {
            if let Some(ty) = result.err() {
                visit(value, ty, parts);
            }
        }
        _ => {}
    }
}

//! Calls host functions: plain ones at once, async ones polled once and then by the executor. For
//! one that is async and serves an import of synchronous type, the whole store waits.

use super::canon_lower::{FuncInst, Lowered};
use super::host_buffer::Unwanted;
use super::options::Peer;
use super::resolve::{resolve_subtask, start_subtask};
use super::subtask_state::{Callee, SubtaskId};
use super::threads::Flow;
use super::watched::watched;
use crate::chain::Frame;
use crate::engine::Context;
use crate::error::{Error, ErrorKind, bug};
use crate::func::{HostFunc, HostFuture, HostKind};
use crate::store::drive::{self, Base};
use crate::store::{Blame, Discarded, Event, State, StoreInner};
use crate::transit::Transit;
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker, ready};
use vestibule_executor::{Op, Reason};

/// Calls a host function on behalf of a subtask. When its future is pending, a task of the
/// executor goes on with it; nothing polls it again before the outermost loop does.
pub(crate) fn call_host(
    cx: &mut Context<'_>,
    host: &Rc<HostFunc>,
    id: SubtaskId,
) -> Result<Flow, Error> {
    if !host.start_safe && cx.data().in_start() {
        let attempted = "call an import that is declared not start-safe";
        return Err(refuse(cx, host, id, attempted));
    }
    if host.suspends() && !cx.data().may_wait {
        return Err(refuse(cx, host, id, CANNOT_WAIT));
    }
    cx.data_mut().totals.host_calls += 1;
    let args = start_subtask(cx, id, Peer::Host, host.as_vals)?;
    let observed = cx.data().observer.is_some();
    if observed {
        tell_of_call(cx.data(), id)?;
    }
    let called = call_kind(cx, host, id, args);
    if observed {
        cx.data().emit(|_| Event::HostReturned);
    }
    called
}

fn call_kind(
    cx: &mut Context<'_>,
    host: &Rc<HostFunc>,
    id: SubtaskId,
    args: Transit,
) -> Result<Flow, Error> {
    match &host.kind {
        HostKind::Plain(function) => {
            let result = watched(cx.data(), host, || catch(|| function(args)));
            let result = result.map_err(|error| named(cx.data(), host, id, error))?;
            resolve_subtask(cx, id, result, Peer::Host)?;
        }
        HostKind::Async(function) => {
            let begun = watched(cx.data(), host, || {
                let mut future = catch(|| Ok(function(args)))?;
                let polled = poll(&mut future, Waker::noop());
                Ok((future, polled))
            });
            let (future, polled) = begun.map_err(|error| named(cx.data(), host, id, error))?;
            match polled {
                Poll::Ready(result) => {
                    drop_caught(future);
                    let result = result.map_err(|error| named(cx.data(), host, id, error))?;
                    resolve_subtask(cx, id, result, Peer::Host)?;
                }
                Poll::Pending if host.suspends() => {
                    cx.data_mut().held = Some(Held {
                        subtask: id,
                        host: Rc::clone(host),
                        progress: Progress::Running(future),
                    });
                    return Ok(Flow::Paused);
                }
                Poll::Pending => spawn(cx, id, future, host)?,
            }
        }
    }
    Ok(Flow::Returned)
}

const CANNOT_WAIT: &str = "call an import that may suspend the guest, where nothing can wait for \
                           it: use `Linker::instantiate_async`, or drop the resource in a task";

/// The refusal of a call that is forbidden where it is made; nothing has run.
fn refuse(cx: &Context<'_>, host: &HostFunc, id: SubtaskId, attempted: &'static str) -> Error {
    let state = cx.data();
    let op = Op::Other(attempted);
    let refused = state.executor.refuse(op, Reason::PhaseForbids);
    state.emit(|_| Event::Refused(&refused));
    let not_run = Frame::Note(format!(
        "host function `{}` ({}, defined at {}) was not run",
        host.name, host.type_name, host.defined_at
    ));
    let error = Error::from(refused).with_frame(not_run);
    match state.subtask(id) {
        Ok(subtask) => error.with_frame(state.import_frame(&subtask.lowered, subtask.first_call)),
        Err(_) => error,
    }
}

/// Leaves a pending host future to the executor. It joins the store's group, which no synchronous
/// call drives: a host future is never a candidate.
fn spawn(
    cx: &mut Context<'_>,
    id: SubtaskId,
    future: HostFuture,
    host: &Rc<HostFunc>,
) -> Result<(), Error> {
    let state = cx.data_mut();
    let name = host.name.clone();
    let task = HostTask {
        store: state.store.clone(),
        subtask: id,
        progress: Progress::Running(future),
    };
    let task = state
        .executor
        .task()
        .name(name)
        .group(&state.group)
        .spawn(task)
        .map_err(|error| Error::from(error.into_refused()))?;
    state.subtask_mut(id)?.callee = Callee::Host(task);
    state.host_futures += 1;
    Ok(())
}

/// A host future that was pending when it was called.
struct HostTask {
    store: Weak<StoreInner>,
    subtask: SubtaskId,
    progress: Progress,
}

enum Progress {
    Running(HostFuture),
    /// Ready, but the store was taken when it became so.
    Ready(Box<Result<Transit, Error>>),
    Done,
}

impl Progress {
    /// Polls the future, if it runs, and takes the result out; none when it was taken before.
    fn poll(&mut self, waker: &Waker) -> Poll<Option<Result<Transit, Error>>> {
        match std::mem::replace(self, Progress::Done) {
            Progress::Running(mut future) => {
                let Poll::Ready(result) = poll(&mut future, waker) else {
                    *self = Progress::Running(future);
                    return Poll::Pending;
                };
                drop_caught(future);
                Poll::Ready(Some(result))
            }
            Progress::Ready(result) => Poll::Ready(Some(*result)),
            Progress::Done => Poll::Ready(None),
        }
    }
}

impl Future for HostTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(result) = ready!(this.progress.poll(cx.waker())) else {
            return Poll::Ready(());
        };
        let Some(store) = this.store.upgrade() else {
            return Poll::Ready(());
        };
        if store.is_taken() {
            this.progress = Progress::Ready(Box::new(result));
            store.wait_for_release(cx.waker());
            return Poll::Pending;
        }
        complete(&store, this.subtask, result);
        Poll::Ready(())
    }
}

impl Drop for HostTask {
    fn drop(&mut self) {
        // It was ready, and was given up before the store was free.
        if let Progress::Ready(result) = std::mem::replace(&mut self.progress, Progress::Done)
            && let Ok(values) = *result
            && let Some(store) = self.store.upgrade()
        {
            let values = Unwanted::Held(values.into_handles());
            store.discard(Discarded::Values(values));
        }
    }
}

/// A host future that was pending when an import of synchronous type was called. Nothing of the
/// store runs before it is ready: the run is left as between two slices of fuel.
pub(crate) struct Held {
    subtask: SubtaskId,
    host: Rc<HostFunc>,
    progress: Progress,
}

/// Polls the host future for which the store waits, if it waits for one.
pub(crate) fn poll_held(store: &StoreInner, cx: &mut std::task::Context<'_>) -> Poll<()> {
    // Taken out while it is polled: it is foreign code.
    let Some(mut held) = store.held.take() else {
        return Poll::Ready(());
    };
    // A panic in it is caught, so the flag is cleared.
    store.polls_held.set(true);
    let polled = held.progress.poll(cx.waker()).map(|result| {
        if let Some(result) = result {
            held.progress = Progress::Ready(Box::new(result));
        }
    });
    store.polls_held.set(false);
    store.held.set(Some(held));
    polled
}

/// Resolves the subtask of a host future for which the store waited.
pub(crate) fn finish_held(cx: &mut Context<'_>, held: Held) -> Result<(), Error> {
    match held.progress {
        Progress::Ready(result) => match *result {
            Ok(values) => resolve_subtask(cx, held.subtask, values, Peer::Host),
            Err(error) => Err(named(cx.data(), &held.host, held.subtask, error)),
        },
        Progress::Running(_) | Progress::Done => Err(bug!("a host future was not awaited")),
    }
}

/// Resolves the subtask whose host future is ready.
fn complete(store: &Rc<StoreInner>, id: SubtaskId, result: Result<Transit, Error>) {
    let call = store.take().and_then(|mut taken| {
        let core = taken.context();
        let state = core.data();
        state.root_call(state.subtasks.get(id)?.caller)
    });
    drive::run_in_background(store, Base::turn(call), |cx| {
        let state = cx.data_mut();
        // The subtask is gone when its instance was locked down meanwhile.
        let Some(subtask) = state.subtasks.get(id) else {
            let values = result.unwrap_or_default().into_handles();
            state.aftermath.unwanted.push(Unwanted::Held(values));
            return Ok(Flow::Returned);
        };
        // The caller is not on the native stack, but what fails here fails its call.
        state.blame = Some(Blame {
            inst: subtask.lowered.inst,
            thread: Some(subtask.caller),
        });
        match result {
            Ok(values) => resolve_subtask(cx, id, values, Peer::Host)?,
            Err(error) => return Err(failed(cx.data(), id, error)),
        }
        cx.data_mut().blame = None;
        Ok(Flow::Returned)
    });
}

fn tell_of_call(state: &State, id: SubtaskId) -> Result<(), Error> {
    let subtask = state.subtask(id)?;
    let component = state.path(subtask.lowered.inst);
    state.emit(|_| Event::HostCall {
        component: &component,
        import: &subtask.lowered.import,
        first_call: subtask.first_call,
    });
    Ok(())
}

/// Names in an error the host function that failed, and the import through which it was called.
fn named(state: &State, host: &HostFunc, id: SubtaskId, error: Error) -> Error {
    match state.subtask(id) {
        Ok(subtask) => host_failure(state, host, &subtask.lowered, subtask.first_call, error),
        Err(_) => error.of_host_function().with_frame(host.frame()),
    }
}

/// As [`named`], of the host function that the subtask calls.
fn failed(state: &State, id: SubtaskId, error: Error) -> Error {
    match state.subtask(id).map(|subtask| &subtask.lowered.func) {
        Ok(FuncInst::Host(host)) => named(state, host, id, error),
        Ok(FuncInst::Lifted(_)) | Err(_) => error.of_host_function(),
    }
}

/// As [`named`], for a call without a subtask.
pub(crate) fn host_failure(
    state: &State,
    host: &HostFunc,
    lowered: &Lowered,
    first_call: bool,
    error: Error,
) -> Error {
    error
        .of_host_function()
        .with_frame(host.frame())
        .with_frame(state.import_frame(lowered, first_call))
}

fn poll(future: &mut HostFuture, waker: &Waker) -> Poll<Result<Transit, Error>> {
    let mut cx = std::task::Context::from_waker(waker);
    let polled = catch(|| Ok(future.as_mut().poll(&mut cx)));
    match polled {
        Ok(poll) => poll,
        Err(error) => Poll::Ready(Err(error)),
    }
}

/// Runs foreign code; a panic becomes an error.
pub(crate) fn catch<R>(f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result,
        Err(payload) => Err(Error::new(ErrorKind::HostPanic(panic_text(payload)))),
    }
}

/// Drops foreign data; a panic in its destructor is the host's own and is not passed on.
fn drop_caught<T>(value: T) {
    let _ = catch_unwind(AssertUnwindSafe(move || drop(value)));
}

/// The text of a panic.
pub(crate) fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let text = match payload.downcast_ref::<&'static str>() {
        Some(text) => (*text).to_owned(),
        None => match payload.downcast_ref::<String>() {
            Some(text) => text.clone(),
            None => "(a panic without a text)".to_owned(),
        },
    };
    drop_caught(payload);
    text
}

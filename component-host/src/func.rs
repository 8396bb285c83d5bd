//! Component functions: those the embedder calls, and those it provides.

use crate::abi::canon_lift::{Lifted, canon_lift};
use crate::abi::canon_lower::FuncInst;
use crate::abi::canon_subtask::cancel_task;
use crate::abi::direct::call_from_host;
use crate::abi::host_buffer::Unwanted;
use crate::abi::host_call::catch;
use crate::abi::tasks::{Caller as TaskCaller, TaskId};
use crate::abi::threads::Flow;
use crate::chain::Frame;
use crate::component::definitions::Name;
use crate::error::{Error, ErrorKind, Result};
use crate::store::data::{DataCell, TakenData};
use crate::store::drive::{self, Base, Driven};
use crate::store::signal::{Signal, Waited};
use crate::store::{Aftermath, Discarded, Meter, Store, StoreInner};
use crate::transit::Transit;
use crate::types::FuncType;
use crate::val::{Val, receive, send};
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use vestibule_executor::{Handle, JoinHandle};

/// A function that a component instance exports.
#[derive(Clone)]
pub struct Func {
    pub(crate) store: Weak<StoreInner>,
    pub(crate) inner: FuncInst,
}

impl Func {
    /// The function's type.
    pub fn ty(&self) -> &FuncType {
        self.inner.ty()
    }

    /// Calls the function.
    ///
    /// The call begins when the future is first polled: the callee runs at once, until it returns
    /// or waits for something. Several calls of one store may be in progress at a time.
    ///
    /// # Errors
    ///
    /// The guest's trap; an error of a host function it called; `Type` when the arguments do not
    /// fit the function; `Resource` when one of them is a resource that is not the embedder's to
    /// give or lend; `Refused` with `StoreBusy` when guest code of this store is running;
    /// `Poisoned` when the instance, or one it waits for, was locked down.
    ///
    /// # Cancellation
    ///
    /// Dropping the future before the first poll does nothing. Dropping it later requests the
    /// cancellation of the call: the guest learns of it at the executor's next turn, if it asks,
    /// and its result is discarded. What was lent to the call stays lent until its task resolves.
    /// Resources in a result that is discarded, and those that were given to a call that never
    /// started, are dropped: their destructors run at the executor's next turns, and what goes wrong
    /// in them is among the store's [background errors](Store::take_background_errors).
    #[track_caller]
    pub fn call<T: 'static>(
        &self,
        store: &Store<T>,
        args: &[Val],
    ) -> impl Future<Output = Result<Option<Val>>> + use<T> {
        self.call_at(store, args, Location::caller())
    }

    /// As [`call`](Func::call), on behalf of whoever is at `at`.
    pub(crate) fn call_at<T: 'static>(
        &self,
        store: &Store<T>,
        args: &[Val],
        at: &'static Location<'static>,
    ) -> impl Future<Output = Result<Option<Val>>> + use<T> {
        // Now, so that the future need not keep the arguments in both forms.
        let call = self.lower(&store.inner, args);
        self.call_with(&store.inner, call, at, |ty, results| {
            let mut results = receive(ty.result_type().types(), &mut results.read())?;
            Ok(results.pop())
        })
    }

    fn lower(&self, store: &Rc<StoreInner>, args: &[Val]) -> Result<Rc<HostCall>> {
        self.check_store(store)?;
        check_args(self.ty(), args).map_err(|problem| self.wrong(&problem))?;
        let args = send(args, self.ty().param_types().types())?;
        Ok(HostCall::new(args, true))
    }

    /// Goes through with a call whose arguments are of the function's types; `finish` reads its
    /// results.
    pub(crate) fn call_with<R, F>(
        &self,
        store: &Rc<StoreInner>,
        call: Result<Rc<HostCall>>,
        at: &'static Location<'static>,
        finish: F,
    ) -> Calling<F>
    where
        F: Fn(&FuncType, Transit) -> Result<R>,
    {
        let stage = match call {
            Ok(call) => Stage::New(call),
            Err(error) => Stage::Refused(error),
        };
        Calling {
            func: self.inner.clone(),
            store: Rc::clone(store),
            at,
            stage,
            finish,
        }
    }

    pub(crate) fn wrong(&self, problem: &dyn fmt::Display) -> Error {
        Error::ty(format!("function `{}`: {problem}", self.inner.name()))
    }

    pub(crate) fn check_store(&self, store: &Rc<StoreInner>) -> Result<()> {
        if !std::ptr::eq(self.store.as_ptr(), Rc::as_ptr(store)) {
            return Err(Error::link(format!(
                "function `{}` belongs to another store than the one it is called with",
                self.inner.name()
            )));
        }
        Ok(())
    }
}

/// A call from the host, as the future that goes through with it. Written by hand, since one is kept
/// for each suspended call: it holds no arguments, no results, and nothing twice.
pub(crate) struct Calling<F> {
    func: FuncInst,
    store: Rc<StoreInner>,
    at: &'static Location<'static>,
    stage: Stage,
    /// Reads the results.
    finish: F,
}

enum Stage {
    /// It cannot be made.
    Refused(Error),
    New(Rc<HostCall>),
    /// The callee has begun, and has not returned.
    Waits(Rc<HostCall>),
    /// A function of the embedder's for the embedder itself. Boxed, since few calls are such.
    Host(Pin<Box<dyn Future<Output = Result<Transit>>>>),
    Done,
}

impl<F> Calling<F> {
    fn poll_results(&mut self, cx: &mut Context<'_>) -> Poll<Result<Transit>> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Refused(error) => return Poll::Ready(Err(error)),
                Stage::New(call) => {
                    let store = &self.store;
                    if store
                        .until_no_slice_is_left(CALL, self.at, cx)?
                        .is_pending()
                    {
                        self.stage = Stage::New(call);
                        return Poll::Pending;
                    }
                    let callee = match &self.func {
                        FuncInst::Lifted(callee) => callee,
                        FuncInst::Host(host) => {
                            self.stage = Stage::Host(Box::pin(call_host(Rc::clone(host), call)));
                            continue;
                        }
                    };
                    begin(store, callee, &call, self.at)?;
                    if call.is_resolved() {
                        return Poll::Ready(self.results_of(&call));
                    }
                    call.free_values();
                    self.stage = Stage::Waits(call);
                }
                Stage::Waits(call) => {
                    let waited = call.resolved.poll(&self.store, "call from the host", cx);
                    return match waited {
                        Poll::Pending => {
                            self.stage = Stage::Waits(call);
                            Poll::Pending
                        }
                        Poll::Ready(Ok(Waited::Happened)) => Poll::Ready(self.results_of(&call)),
                        Poll::Ready(Ok(Waited::GivenUp)) => {
                            give_up(&self.store, &call);
                            Poll::Ready(self.results_of(&call))
                        }
                        Poll::Ready(Err(error)) => {
                            give_up(&self.store, &call);
                            Poll::Ready(Err(self.framed(error)))
                        }
                    };
                }
                Stage::Host(mut future) => {
                    let polled = future.as_mut().poll(cx);
                    if polled.is_pending() {
                        self.stage = Stage::Host(future);
                    }
                    return polled;
                }
                Stage::Done => {
                    return Poll::Ready(Err(Error::link(
                        "the future of a call was polled after it had returned",
                    )));
                }
            }
        }
    }

    fn results_of(&self, call: &HostCall) -> Result<Transit> {
        call.take_result().map_err(|error| self.framed(error))
    }

    fn framed(&self, error: Error) -> Error {
        match &self.func {
            FuncInst::Lifted(callee) => error.with_frame(called(callee, self.at)),
            FuncInst::Host(_) => error,
        }
    }
}

impl<R, F> Future for Calling<F>
where
    F: Fn(&FuncType, Transit) -> Result<R> + Unpin,
{
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<R>> {
        let results = ready!(self.poll_results(cx));
        Poll::Ready(results.and_then(|results| (self.finish)(self.func.ty(), results)))
    }
}

impl<F> Drop for Calling<F> {
    fn drop(&mut self) {
        if let Stage::Waits(call) = &self.stage {
            give_up(&self.store, call);
        }
    }
}

/// What is refused when the store is taken.
const CALL: &str = "call a function";

/// Begins a call: the callee runs until it returns, waits, or has used up its slice of fuel.
fn begin(
    store: &Rc<StoreInner>,
    callee: &Rc<Lifted>,
    call: &Rc<HostCall>,
    at: &'static Location<'static>,
) -> Result<()> {
    let mut args = call.take_args().unwrap_or_default();
    // Before anything runs: what the embedder did wrong is no trap of the guest's.
    if args.has_handles() {
        store.enter(CALL, at, |cx| cx.data_mut().give(&mut args, Some(call)))??;
    }
    let mut numbers = None;
    match callee.direct && !call.as_vals {
        true => numbers = Some(args),
        false => call.set_values(Values::Args(args)),
    }
    let base = Base::call(at, call);
    let driven = drive::run(store, &base, CALL, |cx| {
        let (task, flow) = match numbers {
            // An observer is told of calls on the long way alone.
            Some(args) if cx.data().observer.is_none() => call_from_host(cx, callee, call, args)?,
            numbers => {
                if let Some(args) = numbers {
                    call.set_values(Values::Args(args));
                }
                canon_lift(cx, callee, TaskCaller::Host(Rc::clone(call)))?
            }
        };
        call.task.set(Some(task));
        Ok(flow)
    });
    match driven {
        Ok(Driven::Done) => {}
        Ok(Driven::SliceOver) => drive::go_on_later(store, base),
        Err(error) => {
            call.discard(store);
            return Err(error.with_frame(called(callee, at)));
        }
    }
    Ok(())
}

fn called(callee: &Lifted, at: &'static Location<'static>) -> Frame {
    Frame::Phase {
        what: format!("the host called `{}`", callee.entry.name),
        entered_at: at,
    }
}

/// Calls a function of the embedder's for the embedder itself.
async fn call_host(host: Rc<HostFunc>, call: Rc<HostCall>) -> Result<Transit> {
    let args = call.take_args().unwrap_or_default();
    host.call(args).await
}

/// Says how an argument list differs from what a function expects.
fn check_args(ty: &FuncType, args: &[Val]) -> Result<(), String> {
    let params = ty.params();
    if params.len() != args.len() {
        return Err(format!(
            "expected {} arguments, found {}: it is {ty}",
            params.len(),
            args.len()
        ));
    }
    for ((name, ty), arg) in params.zip(args) {
        arg.type_check(ty)
            .map_err(|problem| format!("argument `{name}`: {problem}"))?;
    }
    Ok(())
}

impl fmt::Debug for Func {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Func({}: {})", self.inner.name(), self.ty())
    }
}

/// One call from the host, from its arguments to its result.
pub(crate) struct HostCall {
    /// The callee's task, once it was made.
    task: Cell<Option<TaskId>>,
    /// Boxed, so that a suspended call, which has none, is small.
    values: Cell<Option<Box<Values>>>,
    as_vals: bool,
    /// What its budget has left, once guest code has run for it.
    pub(crate) meter: Cell<Option<Meter>>,
    /// Set when there is a result.
    resolved: Signal,
    /// Set when nobody wants the result.
    given_up: Cell<bool>,
}

/// The values of a call that are on their way.
#[derive(Default)]
enum Values {
    #[default]
    None,
    /// Of a call that has not started.
    Args(Transit),
    /// Of a call that has ended.
    Result(Result<Transit>),
}

impl HostCall {
    /// A call with these arguments; `as_vals` when its results will be `Val`s.
    pub(crate) fn new(args: Transit, as_vals: bool) -> Rc<HostCall> {
        Rc::new(HostCall {
            task: Cell::new(None),
            values: Cell::new(Some(Box::new(Values::Args(args)))),
            as_vals,
            meter: Cell::new(None),
            resolved: Signal::default(),
            given_up: Cell::new(false),
        })
    }

    /// Whether nobody waits for it any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.get()
    }

    pub(crate) fn is_resolved(&self) -> bool {
        self.resolved.is_set()
    }

    /// Whether the embedder gets the results as `Val`s.
    pub(crate) fn as_vals(&self) -> bool {
        self.as_vals
    }

    fn set_values(&self, values: Values) {
        let place = match self.values.take() {
            Some(mut place) => {
                *place = values;
                place
            }
            None => Box::new(values),
        };
        self.values.set(Some(place));
    }

    /// Takes the values; their place is kept for the next ones.
    fn take_values(&self) -> Values {
        let Some(mut place) = self.values.take() else {
            return Values::None;
        };
        let values = std::mem::take(&mut *place);
        self.values.set(Some(place));
        values
    }

    /// Frees the place of values, if there are none: the call waits.
    fn free_values(&self) {
        let place = self.values.take();
        self.values
            .set(place.filter(|place| !matches!(**place, Values::None)));
    }

    pub(crate) fn take_args(&self) -> Option<Transit> {
        match self.take_values() {
            Values::Args(args) => Some(args),
            Values::None => None,
            other @ Values::Result(_) => {
                self.set_values(other);
                None
            }
        }
    }

    /// Sets the result, unless there is one already.
    pub(crate) fn resolve(self: &Rc<Self>, aftermath: &mut Aftermath, result: Result<Transit>) {
        // Those of a call that never started.
        if let Some(args) = self.take_args() {
            aftermath
                .unwanted
                .push(Unwanted::Given(args.into_handles()));
        }
        if self.resolved.mark() || self.given_up.get() {
            match result {
                Ok(values) => aftermath
                    .unwanted
                    .push(Unwanted::Held(values.into_handles())),
                Err(error) => aftermath.drop_later(error),
            }
        } else {
            self.set_values(Values::Result(result));
            // One that begins to wait later sees that there is a result.
            if self.resolved.is_awaited() {
                aftermath.notify(self);
            }
        }
    }

    /// Nobody waits for the call any more.
    fn discard(&self, store: &Rc<StoreInner>) {
        self.given_up.set(true);
        let unwanted = match self.take_values() {
            Values::Args(args) => Unwanted::Given(args.into_handles()),
            Values::Result(Ok(values)) => Unwanted::Held(values.into_handles()),
            Values::Result(Err(_)) | Values::None => return,
        };
        store.discard(Discarded::Values(unwanted));
    }

    pub(crate) fn cancelled(self: &Rc<Self>, aftermath: &mut Aftermath) {
        self.resolve(aftermath, Err(Error::link("the call was cancelled")));
    }

    /// Wakes whoever waits.
    pub(crate) fn notify(&self) {
        self.resolved.set();
    }

    fn take_result(&self) -> Result<Transit> {
        match self.take_values() {
            Values::Result(result) => result,
            Values::Args(_) | Values::None => Err(Error::link(
                "the executor was shut down before the call returned",
            )),
        }
    }
}

impl fmt::Debug for HostCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostCall")
            .field("resolved", &self.is_resolved())
            .finish_non_exhaustive()
    }
}

/// Requests the cancellation of a call whose future is dropped.
fn give_up(store: &Rc<StoreInner>, call: &HostCall) {
    if call.is_resolved() {
        call.discard(store);
        return;
    }
    let Some(task) = call.task.get() else {
        return;
    };
    call.given_up.set(true);
    // Whoever drops the future may be anywhere, also inside a run of this store: the request
    // waits for the executor's next turn.
    let request = drive::run_when_free(Rc::downgrade(store), move |cx| {
        match cancel_task(cx, task)? {
            true => Ok(Flow::Paused),
            false => Ok(Flow::Returned),
        }
    });
    // An executor that was shut down has dropped the store's tasks anyway.
    drop(
        store
            .executor
            .task()
            .name("cancel a call")
            .group(&store.group)
            .spawn(request),
    );
}

/// The future of an async host function.
pub(crate) type HostFuture = Pin<Box<dyn Future<Output = Result<Transit>>>>;

/// A function that the embedder provides, linked to one import of one store.
pub(crate) struct HostFunc {
    pub(crate) name: Name,
    pub(crate) ty: Arc<FuncType>,
    pub(crate) kind: HostKind,
    /// Whether it takes its arguments as `Val`s.
    pub(crate) as_vals: bool,
    /// Whether start functions may call it.
    pub(crate) start_safe: bool,
    pub(crate) type_name: &'static str,
    pub(crate) defined_at: &'static Location<'static>,
}

pub(crate) enum HostKind {
    Plain(Box<dyn Fn(Transit) -> Result<Transit>>),
    Async(Box<dyn Fn(Transit) -> HostFuture>),
}

impl HostFunc {
    /// Whether the whole store waits for it: it is async, and its import is not.
    pub(crate) fn suspends(&self) -> bool {
        matches!(self.kind, HostKind::Async(_)) && !self.ty.is_async()
    }

    /// The frame that names it.
    pub(crate) fn frame(&self) -> Frame {
        Frame::HostFunction {
            import: self.name.to_string(),
            type_name: self.type_name,
            defined_at: self.defined_at,
        }
    }

    /// Calls the function for the host itself, as a component that re-exports an import asks for.
    async fn call(&self, args: Transit) -> Result<Transit> {
        let result = match &self.kind {
            HostKind::Plain(function) => catch(|| function(args)),
            HostKind::Async(function) => match catch(|| Ok(function(args))) {
                Ok(future) => future.await,
                Err(error) => Err(error),
            },
        };
        result.map_err(|error| error.with_frame(self.frame()))
    }
}

impl fmt::Debug for HostFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "HostFunc({}: {}, {})",
            self.name, self.ty, self.type_name
        )
    }
}

/// What a host function may use of the store that calls it.
pub struct Caller<'a, T> {
    data: TakenData<'a, T>,
    executor: &'a Handle,
    pub(crate) store: Weak<StoreInner>,
}

impl<'a, T> Caller<'a, T> {
    pub(crate) fn new(
        cell: &'a DataCell<T>,
        executor: &'a Handle,
        store: &Weak<StoreInner>,
    ) -> Result<Caller<'a, T>> {
        let store = Weak::clone(store);
        match cell.take() {
            Some(data) => Ok(Caller {
                data,
                executor,
                store,
            }),
            None => Err(data_in_hand(executor)),
        }
    }

    /// The embedder's data.
    pub fn data(&self) -> &T {
        &self.data
    }

    /// The embedder's data.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.data
    }

    /// The executor the store's tasks run on.
    pub fn executor(&self) -> &Handle {
        self.executor
    }

    /// Records work to be done once the instantiation in progress has succeeded; it is dropped
    /// when the instantiation fails. Outside an instantiation it is spawned.
    ///
    /// The handle of dropped work gives `Discarded`, or `Aborted` in an
    /// [asynchronous](crate::Linker::instantiate_async) instantiation.
    ///
    /// # Errors
    ///
    /// `Refused` when the executor was shut down.
    #[track_caller]
    pub fn defer<F>(&self, future: F) -> Result<JoinHandle<F::Output>>
    where
        F: Future + 'static,
    {
        let deferred = self.data.deferral().defer(self.executor, future);
        deferred.map_err(Error::from)
    }
}

impl<T> fmt::Debug for Caller<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

/// What an async host function may use of the store that called it, between awaits.
pub struct Accessor<T> {
    data: Rc<DataCell<T>>,
    executor: Handle,
    pub(crate) store: Weak<StoreInner>,
    import: Rc<str>,
    /// Lives as long as the call.
    call: Weak<()>,
}

impl<T> Accessor<T> {
    pub(crate) fn new(
        data: &Rc<DataCell<T>>,
        executor: &Handle,
        store: &Weak<StoreInner>,
        import: &Rc<str>,
    ) -> Accessor<T> {
        Accessor {
            data: Rc::clone(data),
            executor: executor.clone(),
            store: Weak::clone(store),
            import: Rc::clone(import),
            call: Weak::new(),
        }
    }

    /// The call begins; it ends when what is returned is dropped.
    pub(crate) fn begin_call(&mut self) -> Rc<()> {
        let call = Rc::new(());
        self.call = Rc::downgrade(&call);
        call
    }

    /// Gives access to the embedder's data; the borrow cannot be held across an await.
    ///
    /// # Errors
    ///
    /// `Refused` with `StoreBusy` when somebody has the data in hand; `Link` when the call that the
    /// accessor was given to has ended.
    #[track_caller]
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Result<R> {
        if self.call.strong_count() == 0 {
            return Err(Error::link(format!(
                "the accessor of a call of `{}` was used at {} after the call had ended; what goes \
                 on longer than a call uses `Store::with`",
                self.import,
                Location::caller()
            )));
        }
        match self.data.take() {
            Some(mut data) => Ok(f(&mut data)),
            None => Err(data_in_hand(&self.executor)),
        }
    }

    /// The executor the store's tasks run on.
    pub fn executor(&self) -> &Handle {
        &self.executor
    }
}

impl<T> fmt::Debug for Accessor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accessor").finish_non_exhaustive()
    }
}

#[track_caller]
fn data_in_hand(executor: &Handle) -> Error {
    use vestibule_executor::{Op, Reason};
    Error::new(ErrorKind::Refused(
        executor.refuse(Op::Other("use the store's data"), Reason::StoreBusy),
    ))
}

//! What the types promise: which are `Send`, how large they are, what they print.

use std::fmt::Debug;

use vestibule_executor::*;

fn is_send_and_sync<T: Send + Sync>() {}
fn is_an_error<T: std::error::Error + Send + Sync + 'static>() {}
fn is_debug<T: Debug>() {}

#[test]
fn what_is_made_for_other_threads_can_be_sent_there() {
    is_send_and_sync::<Spawner>();
    is_send_and_sync::<RemoteJoinHandle<i32>>();
    is_send_and_sync::<Refused>();
    is_send_and_sync::<TaskId>();
    is_send_and_sync::<TaskName>();
    is_send_and_sync::<Stalled>();
    is_send_and_sync::<Tick>();
    is_send_and_sync::<Watchdog>();
    is_send_and_sync::<Sighting>();
    is_send_and_sync::<Snapshot>();
    is_send_and_sync::<Metrics>();
    is_an_error::<Refused>();
    is_an_error::<BlockOnError>();
    is_an_error::<BlockInPhaseError>();
    is_an_error::<Stalled>();
    is_an_error::<CannotPark>();
}

#[test]
fn everything_public_can_be_debugged() {
    is_debug::<Executor>();
    is_debug::<Handle>();
    is_debug::<Group>();
    is_debug::<Phase>();
    is_debug::<PhaseGuard>();
    is_debug::<JoinHandle<()>>();
    is_debug::<AbortOnDrop<()>>();
    is_debug::<SpawnError<()>>();
    is_debug::<RunUntil<std::future::Ready<()>>>();
    is_debug::<Watchdog>();
    is_debug::<LocalWaker>();
    is_debug::<TaskName>();
}

#[test]
fn refusals_are_one_pointer() {
    assert_eq!(size_of::<Refused>(), size_of::<usize>());
    assert_eq!(size_of::<Result<(), Refused>>(), size_of::<usize>());
}

/// `Handle: !Send` and the like, by ambiguity: were the type `Send`, the call would not
/// compile.
macro_rules! assert_not_send {
    ($($type:ty),*) => {
        $({
            trait AmbiguousIfSend<A> { fn check() {} }
            impl<T: ?Sized> AmbiguousIfSend<()> for T {}
            struct Marker;
            impl<T: ?Sized + Send> AmbiguousIfSend<Marker> for T {}
            <$type as AmbiguousIfSend<_>>::check();
        })*
    };
}

#[test]
fn what_belongs_to_the_owners_thread_stays_there() {
    assert_not_send!(
        Executor,
        Handle,
        Group,
        Phase,
        PhaseGuard,
        JoinHandle<()>,
        AbortOnDrop<()>,
        LocalSpawner,
        LocalWaker,
        TaskBuilder,
        RunUntil<std::future::Ready<()>>,
        // What another thread would get out of it may not be sent there (RUSTSEC-2020-0062 and
        // others: bounds that were missing).
        RemoteJoinHandle<std::rc::Rc<()>>
    );
}

#[test]
fn a_refusal_reads_like_a_sentence() {
    let executor = Executor::new();
    let store = executor.group("store");
    let handle = executor.handle();
    let task = async move {
        let phase = Phase::instantiating(&store)
            .label("component `a`, core module `$M`, start function `$start`");
        handle.with_phase(phase, || handle.try_block_on(async {}))
    };
    let task = executor.task().name("guest").spawn(task).unwrap();
    let id = task.id();
    let error = executor.try_block_on(task).unwrap().unwrap().unwrap_err();
    let BlockOnError::Refused(refused) = error else {
        panic!("{error}")
    };
    let (entered, attempted) = (refused.entered_at().unwrap(), refused.attempted_at());
    assert_eq!(
        refused.to_string(),
        format!(
            "cannot block on a future: the phase in force forbids it; phase Instantiating \
             (component `a`, core module `$M`, start function `$start`) of group `store`; \
             running task {id} `guest`, poll depth 1; entered at {entered}; attempted at \
             {attempted}; instead: use `block_in_phase`, defer the work until the phase ends, \
             or enter the phase with `OnBlock::DriveAll`"
        )
    );
    assert_eq!(entered.line(), attempted.line());
}

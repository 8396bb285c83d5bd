//! Resources at the boundary: those the embedder implements, and those it holds for guests.

mod common;

use common::Host;
use std::cell::RefCell;
use std::rc::Rc;
use vestibule_component_host::{
    Caller, Component, Config, Engine, Error, ErrorKind, Func, Instance, Linker, ResourceAny,
    ResourceType, Store, Trap, Val,
};
use vestibule_executor::Executor;

type Log = Rc<RefCell<Vec<String>>>;

/// Imports a resource type with a constructor, a method and a consumer, and does what its exports
/// are called for.
const USES_HOST_RESOURCE: &str = r#"(component $uses
  (import "host" (instance $host
    (export "thing" (type $thing (sub resource)))
    (export "make" (func (param "x" u32) (result (own $thing))))
    (export "look" (func (param "t" (borrow $thing)) (result u32)))
    (export "take" (func (param "t" (own $thing)) (result u32)))))
  (alias export $host "thing" (type $thing))
  (alias export $host "make" (func $make))
  (alias export $host "look" (func $look))
  (alias export $host "take" (func $take))
  (core func $make' (canon lower (func $make)))
  (core func $look' (canon lower (func $look)))
  (core func $take' (canon lower (func $take)))
  (core func $drop (canon resource.drop $thing))
  (core module $M
    (import "" "make" (func $make (param i32) (result i32)))
    (import "" "look" (func $look (param i32) (result i32)))
    (import "" "take" (func $take (param i32) (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (func (export "make-look-drop") (param i32) (result i32)
      (local $t i32) (local $seen i32)
      (local.set $t (call $make (local.get 0)))
      (local.set $seen (call $look (local.get $t)))
      (call $drop (local.get $t))
      (local.get $seen))
    (func (export "make-take") (param i32) (result i32)
      (call $take (call $make (local.get 0))))
    (func (export "make-take-look") (param i32) (result i32)
      (local $t i32)
      (local.set $t (call $make (local.get 0)))
      (drop (call $take (local.get $t)))
      (call $look (local.get $t)))
    (func (export "look") (param i32) (result i32)
      (local $seen i32)
      (local.set $seen (call $look (local.get 0)))
      (call $drop (local.get 0))
      (local.get $seen))
    (func (export "keep") (param i32))
    (func (export "drop") (param i32) (call $drop (local.get 0)))
    (func (export "make") (param i32) (result i32) (call $make (local.get 0))))
  (core instance $m (instantiate $M (with "" (instance
    (export "make" (func $make')) (export "look" (func $look'))
    (export "take" (func $take')) (export "drop" (func $drop))))))
  (func (export "make-look-drop") (param "x" u32) (result u32)
    (canon lift (core func $m "make-look-drop")))
  (func (export "make-take") (param "x" u32) (result u32)
    (canon lift (core func $m "make-take")))
  (func (export "make-take-look") (param "x" u32) (result u32)
    (canon lift (core func $m "make-take-look")))
  (func (export "look") (param "t" (borrow $thing)) (result u32)
    (canon lift (core func $m "look")))
  (func (export "keep") (param "t" (borrow $thing)) (canon lift (core func $m "keep")))
  (func (export "drop") (param "t" (own $thing)) (canon lift (core func $m "drop")))
  (func (export "make") (param "x" u32) (result (own $thing))
    (canon lift (core func $m "make"))))"#;

/// Exports a resource type whose destructor calls `dropped: func(rep: u32)`.
const HAS_RESOURCE: &str = r#"(component $has
  (import "dropped" (func $dropped (param "rep" u32)))
  (core func $dropped' (canon lower (func $dropped)))
  (core module $D
    (import "" "dropped" (func $dropped (param i32)))
    (func (export "dtor") (param i32)
      (if (i32.eq (local.get 0) (i32.const 666)) (then unreachable))
      (call $dropped (local.get 0))))
  (core instance $d (instantiate $D (with "" (instance (export "dropped" (func $dropped'))))))
  (type $r' (resource (rep i32) (dtor (core func $d "dtor"))))
  (core func $new (canon resource.new $r'))
  (core func $drop (canon resource.drop $r'))
  (core module $M
    (import "" "new" (func $new (param i32) (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (func (export "new") (param i32) (result i32) (call $new (local.get 0)))
    (func (export "rep") (param i32) (result i32) (local.get 0))
    (func (export "two") (param i32 i32) (result i32)
      (call $drop (local.get 0)) (local.get 1))
    (func (export "consume") (param i32) (call $drop (local.get 0))))
  (core instance $m (instantiate $M (with "" (instance
    (export "new" (func $new)) (export "drop" (func $drop))))))
  (export $r "r" (type $r'))
  (func (export "new") (param "rep" u32) (result (own $r)) (canon lift (core func $m "new")))
  (func (export "rep") (param "r" (borrow $r)) (result u32) (canon lift (core func $m "rep")))
  (func (export "two") (param "a" (own $r)) (param "b" (borrow $r)) (result u32)
    (canon lift (core func $m "two")))
  (func (export "consume") (param "r" (own $r)) (canon lift (core func $m "consume"))))"#;

/// A linker that implements `thing`, writing down what happens to it.
fn things(log: &Log, thing: ResourceType) -> Linker<()> {
    let mut linker = Linker::new();
    let mut host = linker.instance("host").unwrap();
    let (dropped, looked, taken) = (Rc::clone(log), Rc::clone(log), Rc::clone(log));
    host.resource("thing", thing, move |_: Caller<'_, ()>, rep| {
        dropped.borrow_mut().push(format!("drop {rep}"));
        match rep {
            13 => Err(Error::host("no luck")),
            14 => panic!("a bad number"),
            _ => Ok(()),
        }
    })
    .unwrap();
    host.func("make", move |_: Caller<'_, ()>, (x,): (u32,)| {
        Ok((ResourceAny::own(thing, x),))
    })
    .unwrap();
    host.func("look", move |_: Caller<'_, ()>, (t,): (ResourceAny,)| {
        assert!(!t.owned());
        looked.borrow_mut().push(format!("look {}", t.rep()));
        Ok((t.rep(),))
    })
    .unwrap();
    host.func("take", move |_: Caller<'_, ()>, (t,): (ResourceAny,)| {
        assert!(t.owned());
        taken.borrow_mut().push(format!("take {}", t.rep()));
        Ok((t.rep(),))
    })
    .unwrap();
    linker
}

struct Things {
    host: Host,
    store: Store<()>,
    instance: Instance,
    thing: ResourceType,
    log: Log,
}

impl Things {
    fn new() -> Things {
        let host = Host::new();
        let (log, thing) = (Log::default(), ResourceType::host_dynamic());
        let store = host.store(());
        let component = host.component(USES_HOST_RESOURCE);
        let instance = things(&log, thing).instantiate(&store, &component).unwrap();
        Things {
            host,
            store,
            instance,
            thing,
            log,
        }
    }

    fn call(&self, name: &str, args: &[Val]) -> Result<Option<Val>, Error> {
        call(&self.store, &self.instance, name, args)
    }
}

fn func(store: &Store<()>, instance: &Instance, name: &str) -> Func {
    instance.get_func(store, name).unwrap()
}

fn call(
    store: &Store<()>,
    instance: &Instance,
    name: &str,
    args: &[Val],
) -> Result<Option<Val>, Error> {
    store.block_on(func(store, instance, name).call(store, args))
}

fn resource(result: Result<Option<Val>, Error>) -> ResourceAny {
    match result.unwrap() {
        Some(Val::Resource(resource)) => resource,
        other => panic!("expected a resource, got {other:?}"),
    }
}

/// An instance that has a resource, and what its destructor was called with.
fn has_resource(host: &Host, store: &Store<()>) -> (Instance, Log) {
    let log = Log::default();
    let mut linker = Linker::new();
    let dropped = Rc::clone(&log);
    linker
        .root()
        .func("dropped", move |_: Caller<'_, ()>, (rep,): (u32,)| {
            dropped.borrow_mut().push(format!("drop {rep}"));
            Ok(())
        })
        .unwrap();
    let component = host.component(HAS_RESOURCE);
    (linker.instantiate(store, &component).unwrap(), log)
}

fn problem(error: &Error) -> &str {
    match error.kind() {
        ErrorKind::Resource(problem) => problem,
        other => panic!("expected a resource error, got {other:?}"),
    }
}

#[test]
fn a_guest_that_drops_a_host_resource_calls_its_destructor() {
    let things = Things::new();
    let seen = things.call("make-look-drop", &[Val::U32(7)]).unwrap();
    assert_eq!(seen, Some(Val::U32(7)));
    assert_eq!(*things.log.borrow(), ["look 7", "drop 7"]);
}

#[test]
fn a_host_function_that_takes_an_own_has_the_resource_and_the_guest_has_not() {
    let things = Things::new();
    let seen = things.call("make-take", &[Val::U32(8)]).unwrap();
    assert_eq!(seen, Some(Val::U32(8)));
    assert_eq!(*things.log.borrow(), ["take 8"]);

    let error = things.call("make-take-look", &[Val::U32(9)]).unwrap_err();
    assert!(
        matches!(error.trap(), Some(Trap::UnknownHandleIndex(_))),
        "{error}"
    );
}

#[test]
fn a_destructor_that_fails_or_panics_fails_the_call_and_not_the_store() {
    let things = Things::new();
    let error = things.call("make-look-drop", &[Val::U32(13)]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("no luck") && text.contains("host#thing"),
        "{text}"
    );

    // The instance that called it is locked down; another one of the same store goes on.
    let component = things.host.component(USES_HOST_RESOURCE);
    let linker = self::things(&things.log, things.thing);
    let other = linker.instantiate(&things.store, &component).unwrap();
    let error = call(&things.store, &other, "make-look-drop", &[Val::U32(14)]).unwrap_err();
    assert!(error.to_string().contains("a bad number"), "{error}");
    let third = linker.instantiate(&things.store, &component).unwrap();
    call(&things.store, &third, "make-look-drop", &[Val::U32(1)]).unwrap();
}

#[test]
fn the_host_gives_and_lends_what_it_implements() {
    let things = Things::new();
    let borrow = Val::Resource(ResourceAny::borrow(things.thing, 5));
    assert_eq!(things.call("look", &[borrow]).unwrap(), Some(Val::U32(5)));
    let own = Val::Resource(ResourceAny::own(things.thing, 6));
    assert_eq!(things.call("drop", &[own]).unwrap(), None);
    assert_eq!(*things.log.borrow(), ["look 5", "drop 6"]);
}

#[test]
fn a_guest_that_keeps_a_borrow_traps() {
    let things = Things::new();
    let borrow = Val::Resource(ResourceAny::borrow(things.thing, 5));
    let error = things.call("keep", &[borrow]).unwrap_err();
    assert_eq!(error.trap(), Some(&Trap::BorrowsRemain));
}

#[test]
fn what_a_guest_returns_of_a_host_type_is_the_hosts_again() {
    let things = Things::new();
    let own = resource(things.call("make", &[Val::U32(21)]));
    assert_eq!((own.ty(), own.rep(), own.owned()), (things.thing, 21, true));
    own.resource_drop(&things.store).unwrap();
    assert_eq!(*things.log.borrow(), ["drop 21"]);
}

#[test]
fn the_host_lends_then_drops_a_resource_of_a_guests() {
    let host = Host::new();
    let store = host.store(());
    let (instance, log) = has_resource(&host, &store);
    let own = resource(call(&store, &instance, "new", &[Val::U32(3)]));
    assert_eq!(own.ty(), instance.get_resource("r").unwrap());
    for _ in 0..2 {
        let rep = call(&store, &instance, "rep", &[Val::Resource(own)]).unwrap();
        assert_eq!(rep, Some(Val::U32(3)));
    }
    assert!(log.borrow().is_empty());
    own.resource_drop(&store).unwrap();
    assert_eq!(*log.borrow(), ["drop 3"]);
}

#[test]
fn a_resource_that_is_gone_is_refused_by_name_and_the_guest_is_unharmed() {
    let host = Host::new();
    let store = host.store(());
    let (instance, log) = has_resource(&host, &store);
    let own = resource(call(&store, &instance, "new", &[Val::U32(3)]));
    call(&store, &instance, "consume", &[Val::Resource(own)]).unwrap();
    assert_eq!(*log.borrow(), ["drop 3"]);
    for error in [
        call(&store, &instance, "consume", &[Val::Resource(own)]).unwrap_err(),
        call(&store, &instance, "rep", &[Val::Resource(own)]).unwrap_err(),
        own.resource_drop(&store).unwrap_err(),
    ] {
        let problem = problem(&error);
        assert!(problem.contains("given away or dropped"), "{problem}");
        assert!(problem.contains("own<resource"), "{problem}");
    }
    call(&store, &instance, "new", &[Val::U32(4)]).unwrap();
}

#[test]
fn a_resource_cannot_be_given_twice_or_given_and_lent_at_once() {
    let host = Host::new();
    let store = host.store(());
    let (instance, log) = has_resource(&host, &store);
    let own = Val::Resource(resource(call(&store, &instance, "new", &[Val::U32(3)])));
    let error = call(&store, &instance, "two", &[own.clone(), own.clone()]).unwrap_err();
    assert!(problem(&error).contains("given and lent"), "{error}");
    // Nothing was taken.
    let other = Val::Resource(resource(call(&store, &instance, "new", &[Val::U32(4)])));
    call(&store, &instance, "two", &[own, other]).unwrap();
    assert_eq!(*log.borrow(), ["drop 3"]);
}

#[test]
fn a_resource_of_another_instance_or_another_store_is_refused_by_name() {
    let host = Host::new();
    let store = host.store(());
    let (one, _) = has_resource(&host, &store);
    let (two, _) = has_resource(&host, &store);
    let own = Val::Resource(resource(call(&store, &one, "new", &[Val::U32(3)])));
    let error = call(&store, &two, "consume", std::slice::from_ref(&own)).unwrap_err();
    let ErrorKind::Type(text) = error.kind() else {
        panic!("{error:?}")
    };
    assert!(
        text.contains("argument `r`: expected own<resource"),
        "{text}"
    );

    let elsewhere = host.store(());
    let Val::Resource(own) = own else { panic!() };
    let error = own.resource_drop(&elsewhere).unwrap_err();
    assert!(problem(&error).contains("another store"), "{error}");
    drop((store, one, two));
    let error = own.resource_drop(&elsewhere).unwrap_err();
    assert!(problem(&error).contains("another store"), "{error}");
}

#[test]
fn the_embedder_cannot_make_a_guests_resource() {
    let host = Host::new();
    let store = host.store(());
    let (instance, _) = has_resource(&host, &store);
    let forged = ResourceAny::own(instance.get_resource("r").unwrap(), 3);
    let error = call(&store, &instance, "consume", &[Val::Resource(forged)]).unwrap_err();
    assert!(problem(&error).contains("a guest implements"), "{error}");
    let error = forged.resource_drop(&store).unwrap_err();
    assert!(problem(&error).contains("a guest implements"), "{error}");
}

#[test]
fn a_destructor_of_a_guests_that_traps_is_an_error_of_the_drop() {
    let host = Host::new();
    let store = host.store(());
    let (instance, log) = has_resource(&host, &store);
    let bad = resource(call(&store, &instance, "new", &[Val::U32(666)]));
    let good = resource(call(&store, &instance, "new", &[Val::U32(1)]));
    let error = bad.resource_drop(&store).unwrap_err();
    assert_eq!(error.trap(), Some(&Trap::Unreachable));
    assert!(error.to_string().contains("from destructor"), "{error}");
    // The instance is locked down, with the resource it implements.
    let error = good.resource_drop(&store).unwrap_err();
    assert_eq!(error.trap(), Some(&Trap::CannotEnterComponent));
    let (other, _) = has_resource(&host, &store);
    call(&store, &other, "new", &[Val::U32(1)]).unwrap();
    assert!(log.borrow().is_empty());
}

/// Has a resource without a destructor.
const PLAIN_RESOURCE: &str = r#"(component $plain
  (type $r' (resource (rep i32)))
  (core func $new (canon resource.new $r'))
  (core module $M
    (import "" "new" (func $new (param i32) (result i32)))
    (func (export "new") (param i32) (result i32) (call $new (local.get 0))))
  (core instance $m (instantiate $M (with "" (instance (export "new" (func $new))))))
  (export $r "r" (type $r'))
  (func (export "new") (param "rep" u32) (result (own $r)) (canon lift (core func $m "new"))))"#;

#[test]
fn a_handle_table_entry_of_the_hosts_counts_towards_the_limit() {
    let executor = Executor::new();
    let config = Config::new().max_handles(3);
    let engine = Engine::new(config);
    let store = Store::new(&engine, &executor, ());
    let linker = Linker::new();
    let component = Component::new(&engine, PLAIN_RESOURCE.as_bytes()).unwrap();
    let instance = linker.instantiate(&store, &component).unwrap();
    let held: Vec<_> = (0..3)
        .map(|rep| resource(call(&store, &instance, "new", &[Val::U32(rep)])))
        .collect();
    let error = call(&store, &instance, "new", &[Val::U32(3)]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit(_)), "{error}");
    let other = linker.instantiate(&store, &component).unwrap();
    held[0].resource_drop(&store).unwrap();
    call(&store, &other, "new", &[Val::U32(3)]).unwrap();
}

/// Exports `wait: async func(r: borrow<r>)`, which calls the async import `pause` first.
const WAITS_WITH_BORROW: &str = r#"(component $waits
  (import "pause" (func $pause async))
  (core func $pause' (canon lower (func $pause)))
  (type $r' (resource (rep i32)))
  (core func $new (canon resource.new $r'))
  (core module $M
    (import "" "new" (func $new (param i32) (result i32)))
    (import "" "pause" (func $pause))
    (import "" "return" (func $return))
    (func (export "new") (param i32) (result i32) (call $new (local.get 0)))
    (func (export "wait") (param i32) (call $pause) (call $return)))
  (core func $return (canon task.return))
  (core instance $m (instantiate $M (with "" (instance
    (export "new" (func $new)) (export "pause" (func $pause'))
    (export "return" (func $return))))))
  (export $r "r" (type $r'))
  (func (export "new") (param "rep" u32) (result (own $r)) (canon lift (core func $m "new")))
  (func (export "wait") async (param "r" (borrow $r))
    (canon lift (core func $m "wait") async)))"#;

#[test]
fn what_is_lent_to_a_call_cannot_be_dropped_before_the_call_returns() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("pause", |_, ()| async {
            vestibule_executor::yield_now().await;
            Ok(())
        })
        .unwrap();
    let component = host.component(WAITS_WITH_BORROW);
    let instance = linker.instantiate(&store, &component).unwrap();
    let own = resource(call(&store, &instance, "new", &[Val::U32(3)]));
    let wait = func(&store, &instance, "wait").call(&store, &[Val::Resource(own)]);
    let task = host.executor.spawn(wait).unwrap();
    host.executor.tick().unwrap();
    assert!(!task.is_finished());
    let error = own.resource_drop(&store).unwrap_err();
    assert!(
        problem(&error).contains("cannot remove owned resource while borrowed"),
        "{error}"
    );
    host.run();
    assert!(task.is_finished());
    own.resource_drop(&store).unwrap();
}

/// Exports an instance with a resource type, its constructor and a method.
const INSTANCE_WITH_RESOURCE: &str = r#"(component $lender
  (component $R
    (type $r' (resource (rep i32)))
    (core func $new (canon resource.new $r'))
    (core module $M
      (import "" "new" (func $new (param i32) (result i32)))
      (func (export "new") (result i32) (call $new (i32.const 9)))
      (func (export "rep") (param i32) (result i32) (local.get 0)))
    (core instance $m (instantiate $M (with "" (instance (export "new" (func $new))))))
    (export $r "r" (type $r'))
    (func (export "new") (result (own $r)) (canon lift (core func $m "new")))
    (func (export "rep") (param "r" (borrow $r)) (result u32) (canon lift (core func $m "rep"))))
  (instance $r (instantiate $R))
  (export "res" (instance $r)))"#;

#[test]
fn a_borrow_that_a_host_function_keeps_is_refused_after_its_call() {
    let host = Host::new();
    let store = host.store(());
    let owner = {
        let component = host.component(INSTANCE_WITH_RESOURCE);
        Linker::new().instantiate(&store, &component).unwrap()
    };
    let kept: Rc<RefCell<Option<ResourceAny>>> = Rc::default();
    let mut linker = Linker::new();
    linker.root().export("r", &owner, "res#r").unwrap();
    linker.root().export("new", &owner, "res#new").unwrap();
    let keep = Rc::clone(&kept);
    linker
        .root()
        .func(
            "borrow-it",
            move |_: Caller<'_, ()>, (r,): (ResourceAny,)| {
                *keep.borrow_mut() = Some(r);
                Ok(())
            },
        )
        .unwrap();
    let user = r#"(component
      (import "r" (type $r (sub resource)))
      (import "new" (func $new (result (own $r))))
      (import "borrow-it" (func $borrow (param "r" (borrow $r))))
      (core func $new' (canon lower (func $new)))
      (core func $borrow' (canon lower (func $borrow)))
      (core module $M
        (import "" "new" (func $new (result i32)))
        (import "" "borrow" (func $borrow (param i32)))
        (func (export "go") (call $borrow (call $new))))
      (core instance $m (instantiate $M (with "" (instance
        (export "new" (func $new')) (export "borrow" (func $borrow'))))))
      (func (export "go") (canon lift (core func $m "go"))))"#;
    let instance = linker.instantiate(&store, &host.component(user)).unwrap();
    call(&store, &instance, "go", &[]).unwrap();
    let kept = kept.borrow_mut().take().unwrap();
    assert_eq!((kept.rep(), kept.owned()), (9, false));
    let error = call(&store, &owner, "res#rep", &[Val::Resource(kept)]).unwrap_err();
    assert!(
        problem(&error).contains("lent for the time of a call"),
        "{error}"
    );
}

//! The embedder's side of linking: versions, prepared instances, threads, and mistakes.

mod common;

use common::{Host, PLAIN};
use std::rc::Rc;
use vestibule_component_host::{
    Accessor, Caller, Component, Config, Engine, Error, ErrorKind, InstancePre, InterruptHandle,
    Linker, Resource, ResourceAny, ResourceType, Store, Trap, Val,
};
use vestibule_executor::Executor;

/// Calls `f` of the imported instance `a:b/c@1.2.3`.
const IMPORTS_A_VERSION: &str = r#"(component
  (import "a:b/c@1.2.3" (instance $i (export "f" (func (result u32)))))
  (core func $f (canon lower (func $i "f")))
  (core module $M
    (import "" "f" (func $f (result i32)))
    (func (export "call") (result i32) (call $f)))
  (core instance $m (instantiate $M (with "" (instance (export "f" (func $f))))))
  (func (export "call") (result u32) (canon lift (core func $m "call"))))"#;

fn offer(linker: &mut Linker<()>, version: &str, value: u32) {
    linker
        .instance(&format!("a:b/c@{version}"))
        .unwrap()
        .func("f", move |_: Caller<'_, ()>, ()| Ok((value,)))
        .unwrap();
}

fn call(host: &Host, instance: &InstancePre<()>) -> Result<u32, Error> {
    let store = host.store(());
    let instance = instance.instantiate(&store)?;
    let call = instance.get_typed_func::<(), (u32,)>(&store, "call")?;
    Ok(store.block_on(call.call(&store, ()))?.0)
}

#[test]
fn an_import_is_served_by_a_compatible_version() {
    let host = Host::new();
    let component = host.component(IMPORTS_A_VERSION);
    let mut linker = Linker::new();
    offer(&mut linker, "2.0.0", 2);
    offer(&mut linker, "0.9.0", 3);
    let error = linker.instantiate_pre(&component).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("a:b/c@1.2.3") && text.contains("a:b/c@2.0.0"),
        "{text}"
    );
    offer(&mut linker, "1.2.5", 125);
    assert_eq!(
        call(&host, &linker.instantiate_pre(&component).unwrap()).unwrap(),
        125
    );
    offer(&mut linker, "1.2.3", 123);
    assert_eq!(
        call(&host, &linker.instantiate_pre(&component).unwrap()).unwrap(),
        123
    );
}

#[test]
fn a_prepared_instance_keeps_the_definitions_it_was_made_with() {
    let host = Host::new();
    let component = host.component(IMPORTS_A_VERSION);
    let mut linker = Linker::new();
    offer(&mut linker, "1.2.4", 124);
    let before = linker.instantiate_pre(&component).unwrap();
    offer(&mut linker, "1.2.9", 129);
    let after = linker.instantiate_pre(&component).unwrap();
    drop(linker);
    for _ in 0..2 {
        assert_eq!(call(&host, &before.clone()).unwrap(), 124);
        assert_eq!(call(&host, &after).unwrap(), 129);
    }
    assert_eq!(before.component().export_names().next(), Some("call"));
}

#[test]
fn an_exported_interface_is_found_under_a_compatible_version() {
    let host = Host::new();
    let (store, instance) = host
        .instantiate(
            r#"(component
              (component $Inner
                (core module $M (func (export "seven") (result i32) (i32.const 7)))
                (core instance $m (instantiate $M))
                (func (export "seven") (result u32) (canon lift (core func $m "seven"))))
              (instance $inner (instantiate $Inner))
              (export "a:b/c@1.4.0" (instance $inner)))"#,
        )
        .unwrap();
    for name in ["a:b/c@1.4.0#seven", "a:b/c@1.0.0#seven"] {
        let seven = instance.get_typed_func::<(), (u32,)>(&store, name).unwrap();
        assert_eq!(store.block_on(seven.call(&store, ())).unwrap(), (7,));
    }
    let error = instance.get_func(&store, "a:b/c@2.0.0#seven").unwrap_err();
    assert!(error.to_string().contains("a:b/c@1.4.0#seven"), "{error}");
}

#[test]
fn engines_and_components_go_from_thread_to_thread() {
    fn send_and_sync<V: Send + Sync>() {}
    send_and_sync::<Engine>();
    send_and_sync::<Component>();
    send_and_sync::<Config>();
    send_and_sync::<InterruptHandle>();
    send_and_sync::<ResourceType>();
    let engine = Engine::default();
    let component = Component::new(&engine, PLAIN.as_bytes()).unwrap();
    let values = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let executor = Executor::new();
                    let store = Store::new(&engine, &executor, ());
                    let instance = Linker::new().instantiate(&store, &component).unwrap();
                    common::call_u32(&store, &instance, "value")
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<u32>>()
    });
    assert_eq!(values, [7; 4]);
}

#[test]
fn a_name_that_is_defined_twice_is_refused_by_its_path() {
    let mut linker = Linker::<()>::new();
    offer(&mut linker, "1.0.0", 1);
    let again = linker
        .instance("a:b/c@1.0.0")
        .unwrap()
        .func("f", |_: Caller<'_, ()>, ()| Ok(()));
    let error = again.unwrap_err().to_string();
    assert!(
        error.contains("`a:b/c@1.0.0#f` is defined twice"),
        "{error}"
    );
    linker
        .root()
        .func("g", |_: Caller<'_, ()>, ()| Ok(()))
        .unwrap();
    let error = linker.instance("g").unwrap_err().to_string();
    assert!(error.contains("`g` is defined as a function"), "{error}");
}

#[test]
fn an_async_function_for_a_synchronous_import_is_refused_with_a_hint() {
    let host = Host::new();
    let component = host.component(IMPORTS_A_VERSION);
    let mut linker = Linker::<()>::new();
    linker
        .instance("a:b/c@1.2.3")
        .unwrap()
        .func_async("f", |_: Accessor<()>, ()| async { Ok((1_u32,)) })
        .unwrap();
    let error = linker.instantiate_pre(&component).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Link(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("a:b/c@1.2.3#f") && text.contains("define it with `func`"),
        "{text}"
    );
}

#[test]
fn a_stub_traps_with_the_name_of_its_import() {
    let host = Host::new();
    let component = host.component(IMPORTS_A_VERSION);
    let mut linker = Linker::<()>::new();
    linker.define_unknown_imports_as_traps();
    let error = call(&host, &linker.instantiate_pre(&component).unwrap()).unwrap_err();
    let stubbed = Trap::StubbedImport("a:b/c@1.2.3#f".to_owned());
    assert_eq!(error.trap(), Some(&stubbed), "{error}");
}

/// Imports a resource type of the host's, takes an `own` and keeps it; `drop` lets it go.
const KEEPS_A_RESOURCE: &str = r#"(component
  (import "thing" (type $thing (sub resource)))
  (core func $drop (canon resource.drop $thing))
  (core module $M
    (import "" "drop" (func $drop (param i32)))
    (global $kept (mut i32) (i32.const 0))
    (func (export "keep") (param i32) (global.set $kept (local.get 0)))
    (func (export "drop") (call $drop (global.get $kept))))
  (core instance $m (instantiate $M (with "" (instance (export "drop" (func $drop))))))
  (func (export "keep") (param "t" (own $thing)) (canon lift (core func $m "keep")))
  (func (export "drop") (canon lift (core func $m "drop"))))"#;

struct Thing;
struct Other;

#[test]
fn a_resource_of_the_wrong_kind_is_refused_and_the_right_one_still_works() {
    let host = Host::new();
    let store = host.store(Vec::<u32>::new());
    let mut linker = Linker::new();
    let ty = ResourceType::host::<Thing>();
    let mut root = linker.root();
    root.resource("thing", ty, |mut caller: Caller<'_, Vec<u32>>, rep| {
        caller.data_mut().push(rep);
        Ok(())
    })
    .unwrap();
    let component = host.component(KEEPS_A_RESOURCE);
    let instance = linker.instantiate(&store, &component).unwrap();
    let keep = instance.get_func(&store, "keep").unwrap();
    let wrong = [
        Val::Resource(ResourceAny::own(ResourceType::host::<Other>(), 1)),
        Val::Resource(ResourceAny::borrow(ty, 1)),
        Val::U32(1),
    ];
    for val in wrong {
        let error = store.block_on(keep.call(&store, &[val])).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error:?}");
        assert!(error.to_string().contains("argument `t`"), "{error}");
    }
    let keep = keep.typed::<(Resource<Thing>,), ()>(&store).unwrap();
    store
        .block_on(keep.call(&store, (Resource::new_own(7),)))
        .unwrap();
    let drop = instance.get_typed_func::<(), ()>(&store, "drop").unwrap();
    store.block_on(drop.call(&store, ())).unwrap();
    assert_eq!(store.with(|dropped| dropped.clone()).unwrap(), [7]);
}

#[test]
fn a_function_outlives_its_store_as_an_error() {
    let host = Host::new();
    let (store, instance) = host.instantiate(PLAIN).unwrap();
    let value = instance
        .get_typed_func::<(), (u32,)>(&store, "value")
        .unwrap();
    drop((store, instance));
    let other = host.store(());
    let error = other.block_on(value.call(&other, ())).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`value` belongs to another store"),
        "{error}"
    );
}

#[test]
fn an_accessor_is_refused_while_the_data_is_in_hand_and_after_its_call() {
    let host = Host::new();
    let store = host.store(1_u32);
    let kept: Rc<std::cell::RefCell<Option<Rc<Accessor<u32>>>>> = Rc::default();
    let mut linker = Linker::new();
    let keeps = Rc::clone(&kept);
    linker
        .root()
        .func_async("f", move |accessor: Accessor<u32>, (x,): (u32,)| {
            let accessor = Rc::new(accessor);
            *keeps.borrow_mut() = Some(Rc::clone(&accessor));
            async move {
                let before = accessor.with(|data| std::mem::replace(data, x))?;
                let busy = accessor.with(|_| accessor.with(|data| *data))?;
                assert!(busy.unwrap_err().refused().is_some());
                Ok((before,))
            }
        })
        .unwrap();
    let component = host.component(common::CALLS_ASYNC_F);
    let instance = linker.instantiate(&store, &component).unwrap();
    assert_eq!(common::call_u32(&store, &instance, "value"), 1);
    assert_eq!(store.with(|data| *data).unwrap(), 41);
    let accessor = kept.take().expect("it was called");
    let error = accessor.with(|data| *data).unwrap_err().to_string();
    assert!(
        error.contains("a call of `f`") && error.contains("had ended"),
        "{error}"
    );
}

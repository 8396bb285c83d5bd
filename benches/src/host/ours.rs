//! The workloads on our host.

use super::{CALLS, VALUES, Work, large, text};
use std::hint::black_box;
use std::rc::Rc;
use vestibule_component_host::{
    Caller, Component, ComponentType, Engine, Instance, Lift, Linker, Lower, ResourceAny, Store,
    TypedFunc,
};
use vestibule_executor::Executor;

#[derive(Clone, Debug, PartialEq, ComponentType, Lift, Lower)]
struct Point {
    x: u32,
    y: f64,
    z: u8,
}

struct Ours {
    executor: Executor,
    engine: Engine,
    component: Component,
    linker: Linker<()>,
}

struct Guest {
    _executor: Rc<Ours>,
    store: Store<()>,
    instance: Instance,
}

impl Ours {
    fn new() -> Ours {
        let engine = Engine::default();
        let component = Component::new(&engine, VALUES.as_bytes()).expect("it compiles");
        let mut linker = Linker::new();
        let mut root = linker.root();
        root.func("host-add", |_: Caller<'_, ()>, (a, b): (u32, u32)| {
            Ok((a.wrapping_add(b),))
        })
        .and_then(|()| {
            root.func("host-string", |_: Caller<'_, ()>, (s,): (String,)| {
                Ok((s.len() as u32,))
            })
        })
        .and_then(|()| {
            root.func("host-bytes", |_: Caller<'_, ()>, (l,): (Vec<u8>,)| {
                Ok((l.len() as u32,))
            })
        })
        .expect("they are defined once");
        Ours {
            executor: Executor::new(),
            engine,
            component,
            linker,
        }
    }

    fn instantiate(&self) -> (Store<()>, Instance) {
        let store = Store::new(&self.engine, &self.executor, ());
        let instance = self
            .linker
            .instantiate(&store, &self.component)
            .expect("it starts");
        (store, instance)
    }
}

impl Guest {
    fn func<P, R>(&self, name: &str) -> TypedFunc<P, R>
    where
        P: vestibule_component_host::LowerList,
        R: vestibule_component_host::LiftList,
    {
        self.instance
            .get_typed_func(&self.store, name)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

/// A function of one argument that returns one result, which is checked.
fn call<A, R>(
    guest: &Rc<Guest>,
    name: &str,
    arg: impl Fn() -> A + 'static,
    check: impl Fn(R) -> bool + 'static,
) -> Work
where
    A: Lower + 'static,
    R: Lift + 'static,
{
    let (guest, func) = (Rc::clone(guest), guest.func::<(A,), (R,)>(name));
    let name = name.to_owned();
    Box::new(move || {
        let call = func.call(&guest.store, (black_box(arg()),));
        let (result,) = guest.store.block_on(call).expect("it returns");
        assert!(check(result), "{name}");
    })
}

pub(super) fn works() -> Vec<(&'static str, Work)> {
    let ours = Rc::new(Ours::new());
    let (store, instance) = ours.instantiate();
    let guest = Rc::new(Guest {
        _executor: Rc::clone(&ours),
        store,
        instance,
    });
    let mut works = compile_and_instantiate(&ours);
    works.extend(from_host(&guest));
    works.extend(from_guest(&guest));
    works
}

fn compile_and_instantiate(ours: &Rc<Ours>) -> Vec<(&'static str, Work)> {
    let binary = Rc::new(wat::parse_str(large()).expect("the sample is valid"));
    let compile = |ours: &Rc<Ours>, binary: &Rc<Vec<u8>>| -> Work {
        let (ours, binary) = (Rc::clone(ours), Rc::clone(binary));
        Box::new(move || {
            let component = Component::new(&ours.engine, black_box(&binary)).expect("it compiles");
            assert_eq!(component.export_names().count(), 1, "compile");
        })
    };
    let (beside, alone) = (compile(ours, &binary), compile(ours, &binary));
    let ours = Rc::clone(ours);
    let instantiate = move || {
        let (_store, instance) = ours.instantiate();
        assert_eq!(instance.func_names().len(), 16, "instantiate");
    };
    vec![
        ("compile/validation-beside", beside),
        ("compile", alone),
        ("instantiate", Box::new(instantiate)),
    ]
}

pub(super) fn compile(binary: Vec<u8>) -> Work {
    let engine = Engine::default();
    Box::new(move || drop(Component::new(&engine, black_box(&binary)).expect("it compiles")))
}

fn from_host(guest: &Rc<Guest>) -> Vec<(&'static str, Work)> {
    let add = guest.func::<(u32, u32), (u32,)>("callee#add");
    let adds = Rc::clone(guest);
    let scalar = move || {
        let call = add.call(&adds.store, (black_box(3), 4));
        assert_eq!(adds.store.block_on(call).expect("it returns"), (7,), "add");
    };
    let string = |length: usize| {
        let sent = text(length);
        let check = move |found: u32| found == length as u32;
        call(guest, "callee#string-length", move || sent.clone(), check)
    };
    let list = |length: usize| {
        let sent = vec![7_u8; length];
        let check = move |found: u32| found == length as u32;
        call(guest, "callee#list-length", move || sent.clone(), check)
    };
    let point = Point { x: 1, y: 2.5, z: 3 };
    let points = vec![point; 10_000];
    let sent = points.clone();
    let records = call(
        guest,
        "callee#records-length",
        move || sent.clone(),
        |found: u32| found == 10_000,
    );
    let echo_records = call(
        guest,
        "callee#echo-records",
        move || points.clone(),
        |back: Vec<Point>| back.len() == 10_000 && back.last().is_some_and(|point| point.z == 3),
    );
    let sent = text(1 << 20);
    let echo_string = call(
        guest,
        "callee#echo-string",
        move || sent.clone(),
        |back: String| back.len() == 1 << 20,
    );
    let sent = vec![7_u8; 1 << 20];
    let echo_list = call(
        guest,
        "callee#echo-list",
        move || sent.clone(),
        |back: Vec<u8>| back.len() == 1 << 20 && back.last() == Some(&7),
    );
    vec![
        ("host-to-guest/scalar", Box::new(scalar)),
        ("host-to-guest/string=10", string(10)),
        ("host-to-guest/string=1k", string(1 << 10)),
        ("host-to-guest/string=64k", string(64 << 10)),
        ("host-to-guest/string=1m", string(1 << 20)),
        ("host-to-guest/list-u8=64k", list(64 << 10)),
        ("host-to-guest/list-u8=1m", list(1 << 20)),
        ("host-to-guest/list-record=10k", records),
        ("host-to-guest/echo-string=1m", echo_string),
        ("host-to-guest/echo-list-u8=1m", echo_list),
        ("host-to-guest/echo-list-record=10k", echo_records),
    ]
}

fn from_guest(guest: &Rc<Guest>) -> Vec<(&'static str, Work)> {
    let returns_its_argument = |name: &str, arg: u32| {
        let name = format!("caller#{name}");
        call(guest, &name, move || arg, move |found: u32| found == arg)
    };
    // A resource that the host makes and drops too, so that it is not the guest's loop alone.
    let make = guest.func::<(u32,), (ResourceAny,)>("callee#make");
    let (made,) = guest
        .store
        .block_on(make.call(&guest.store, (1,)))
        .expect("it returns");
    made.resource_drop(&guest.store).expect("it is dropped");
    vec![
        (
            "guest-to-host/scalar-loop",
            returns_its_argument("calls-host", CALLS),
        ),
        (
            "guest-to-host/string=64k",
            returns_its_argument("string-to-host", 64 << 10),
        ),
        (
            "guest-to-host/string=1m",
            returns_its_argument("string-to-host", 1 << 20),
        ),
        (
            "guest-to-host/list-u8=64k",
            returns_its_argument("list-to-host", 64 << 10),
        ),
        (
            "guest-to-host/list-u8=1m",
            returns_its_argument("list-to-host", 1 << 20),
        ),
        (
            "guest-to-guest/scalar-loop",
            returns_its_argument("calls-guest", CALLS),
        ),
        (
            "guest-to-guest/string=10",
            returns_its_argument("string-to-guest", 10),
        ),
        (
            "guest-to-guest/string=1k",
            returns_its_argument("string-to-guest", 1 << 10),
        ),
        (
            "guest-to-guest/string=64k",
            returns_its_argument("string-to-guest", 64 << 10),
        ),
        (
            "guest-to-guest/string=1m",
            returns_its_argument("string-to-guest", 1 << 20),
        ),
        (
            "guest-to-guest/list-u8=64k",
            returns_its_argument("list-to-guest", 64 << 10),
        ),
        (
            "guest-to-guest/list-u8=1m",
            returns_its_argument("list-to-guest", 1 << 20),
        ),
        (
            "guest-to-guest/list-record=10k",
            returns_its_argument("records-to-guest", 10_000),
        ),
        (
            "resource-create-drop-loop",
            returns_its_argument("makes", CALLS),
        ),
    ]
}

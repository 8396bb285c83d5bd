//! The workloads on wasmtime, with its compiler and its typed calls.

use super::{CALLS, VALUES, Work, large, text};
use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use wasmtime::component::{
    Component, ComponentNamedList, ComponentType, Instance, Lift, Linker, Lower, TypedFunc,
};
use wasmtime::{Engine, Store};

#[derive(Clone, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(record)]
struct Point {
    x: u32,
    y: f64,
    z: u8,
}

struct Theirs {
    engine: Engine,
    component: Component,
    linker: Linker<()>,
}

struct Guest {
    store: RefCell<Store<()>>,
    instance: Instance,
}

impl Theirs {
    fn new() -> Theirs {
        let engine = Engine::default();
        let binary = wat::parse_str(VALUES).expect("the sample is valid");
        let component = Component::new(&engine, binary).expect("it compiles");
        let mut linker = Linker::new(&engine);
        let mut root = linker.root();
        root.func_wrap("host-add", |_, (a, b): (u32, u32)| Ok((a.wrapping_add(b),)))
            .expect("it is defined once");
        root.func_wrap("host-string", |_, (s,): (String,)| Ok((s.len() as u32,)))
            .expect("it is defined once");
        root.func_wrap("host-bytes", |_, (l,): (Vec<u8>,)| Ok((l.len() as u32,)))
            .expect("it is defined once");
        Theirs {
            engine,
            component,
            linker,
        }
    }

    fn instantiate(&self) -> (Store<()>, Instance) {
        let mut store = Store::new(&self.engine, ());
        let instance = self
            .linker
            .instantiate(&mut store, &self.component)
            .expect("it starts");
        (store, instance)
    }
}

impl Guest {
    fn func<P, R>(&self, name: &str) -> TypedFunc<P, R>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let mut store = self.store.borrow_mut();
        let (instance, name) = name.split_once('#').expect("all are in an instance");
        let instance = self
            .instance
            .get_export_index(&mut *store, None, instance)
            .expect("it is exported");
        let func = self
            .instance
            .get_export_index(&mut *store, Some(&instance), name)
            .expect("it is exported");
        self.instance
            .get_typed_func(&mut *store, &func)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

fn call<A, R>(
    guest: &Rc<Guest>,
    name: &str,
    arg: impl Fn() -> A + 'static,
    check: impl Fn(R) -> bool + 'static,
) -> Work
where
    A: Lower + Send + Sync + 'static,
    R: Lift + Send + Sync + 'static,
{
    let (guest, func) = (Rc::clone(guest), guest.func::<(A,), (R,)>(name));
    let name = name.to_owned();
    Box::new(move || {
        let mut store = guest.store.borrow_mut();
        let (result,) = func
            .call(&mut *store, (black_box(arg()),))
            .expect("it returns");
        assert!(check(result), "{name}");
    })
}

pub(super) fn works() -> Vec<(&'static str, Work)> {
    let theirs = Rc::new(Theirs::new());
    let (store, instance) = theirs.instantiate();
    let guest = Rc::new(Guest {
        store: RefCell::new(store),
        instance,
    });
    let binary = wat::parse_str(large()).expect("the sample is valid");
    let compiles = Rc::clone(&theirs);
    let compile = move || {
        let component = Component::new(&compiles.engine, black_box(&binary));
        assert!(component.is_ok(), "compile");
    };
    let instantiate = move || {
        let (mut store, instance) = theirs.instantiate();
        let caller = instance.get_export_index(&mut store, None, "caller");
        assert!(caller.is_some(), "instantiate");
    };
    let mut works: Vec<(&'static str, Work)> = vec![
        ("compile", Box::new(compile)),
        ("instantiate", Box::new(instantiate)),
    ];
    works.extend(from_host(&guest));
    works.extend(from_guest(&guest));
    works
}

fn from_host(guest: &Rc<Guest>) -> Vec<(&'static str, Work)> {
    let add = guest.func::<(u32, u32), (u32,)>("callee#add");
    let adds = Rc::clone(guest);
    let scalar = move || {
        let mut store = adds.store.borrow_mut();
        let result = add.call(&mut *store, (black_box(3), 4));
        assert_eq!(result.expect("it returns"), (7,), "add");
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

//! The core engine alone: what is beneath the workloads of our host, and no host can go below.

use super::{CALLS, Work};
use std::hint::black_box;
use wasmi::{Caller, CompilationMode, Config, Engine, Func, Instance, Module, Store};

/// As the host has it: with fuel, and small stacks.
fn engine() -> Engine {
    let mut config = Config::default();
    config
        .consume_fuel(true)
        .compilation_mode(CompilationMode::Lazy)
        .set_min_stack_height(4);
    Engine::new(&config)
}

const CALLER: &str = r#"(module
  (import "" "add" (func $add (param i32 i32) (result i32)))
  (func (export "loop") (param $n i32) (result i32) (local $sum i32)
    (loop $l
      (local.set $sum (call $add (local.get $sum) (i32.const 1)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum)))"#;

const CALLEE: &str = r#"(module
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))"#;

/// The memories of `values.wat`.
const MEMORIES: &str = "(module (memory 64) (memory 64))";

fn module(engine: &Engine, text: &str) -> Module {
    let binary = wat::parse_str(text).expect("the sample is valid");
    Module::new(engine, binary).expect("it compiles")
}

fn store(engine: &Engine) -> Store<()> {
    let mut store = Store::new(engine, ());
    store.set_fuel(u64::MAX).expect("fuel is consumed");
    store
}

fn instantiate(store: &mut Store<()>, text: &str, import: Option<Func>) -> Instance {
    let module = module(store.engine(), text);
    let imports: Vec<_> = import.into_iter().map(Into::into).collect();
    Instance::new(&mut *store, &module, &imports).expect("it instantiates")
}

/// A guest that calls `add` in a loop.
fn calls(mut store: Store<()>, add: Func) -> Work {
    let instance = instantiate(&mut store, CALLER, Some(add));
    let run = instance
        .get_typed_func::<i32, i32>(&store, "loop")
        .expect("it is exported");
    Box::new(move || {
        let sum = run.call(&mut store, CALLS as i32).expect("it returns");
        assert_eq!(sum, CALLS as i32, "engine");
    })
}

fn host_call() -> Work {
    let mut store = store(&engine());
    let add = Func::wrap(&mut store, |a: i32, b: i32| a.wrapping_add(b));
    calls(store, add)
}

/// The host function calls another instance, so that it could be suspended.
fn nested_call() -> Work {
    let mut store = store(&engine());
    let callee = instantiate(&mut store, CALLEE, None);
    let callee = callee.get_func(&store, "add").expect("it is exported");
    let add = Func::wrap(&mut store, move |caller: Caller<'_, ()>, a: i32, b: i32| {
        resumably(caller, callee, a, b)
    });
    calls(store, add)
}

fn resumably(cx: impl wasmi::AsContextMut, callee: Func, a: i32, b: i32) -> i32 {
    use wasmi::{ResumableCall, Val};
    let mut out = [Val::I32(0)];
    let args = [Val::I32(a), Val::I32(b)];
    match (callee.call_resumable(cx, &args, &mut out), out) {
        (Ok(ResumableCall::Finished), [Val::I32(sum)]) => sum,
        (other, _) => panic!("engine: {other:?}"),
    }
}

fn call() -> Work {
    let mut store = store(&engine());
    let callee = instantiate(&mut store, CALLEE, None);
    let callee = callee.get_func(&store, "add").expect("it is exported");
    Box::new(move || assert_eq!(resumably(&mut store, callee, black_box(3), 4), 7, "engine"))
}

/// Suspends a guest that calls it: it has no size, so that the engine allocates nothing for it.
#[derive(Debug)]
struct Suspend;

impl std::fmt::Display for Suspend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("suspended")
    }
}

impl wasmi::errors::HostError for Suspend {}

/// A guest that is suspended in each of its calls, and resumed.
fn suspend_resume() -> Work {
    use wasmi::{Error, ResumableCall, Val};
    let mut store = store(&engine());
    let add = Func::wrap(&mut store, |_: i32, _: i32| -> Result<i32, Error> {
        Err(Error::host(Suspend))
    });
    let instance = instantiate(&mut store, CALLER, Some(add));
    let run = instance.get_func(&store, "loop").expect("it is exported");
    Box::new(move || {
        let mut out = [Val::I32(0)];
        let args = [Val::I32(CALLS as i32)];
        let mut call = run.call_resumable(&mut store, &args, &mut out);
        let mut suspended = 0;
        while let Ok(ResumableCall::HostTrap(guest)) = call {
            suspended += 1;
            call = guest.resume(&mut store, &[Val::I32(suspended)], &mut out);
        }
        assert!(matches!(call, Ok(ResumableCall::Finished)), "engine");
        assert_eq!(suspended, CALLS as i32, "engine");
    })
}

fn memories() -> Work {
    let engine = engine();
    let module = module(&engine, MEMORIES);
    Box::new(move || {
        let mut store = store(&engine);
        Instance::new(&mut store, &module, &[]).expect("it instantiates");
    })
}

fn compile() -> Work {
    let engine = engine();
    let component = wat::parse_str(super::large()).expect("the sample is valid");
    let module = wasmparser::Parser::new(0)
        .parse_all(&component)
        .find_map(|payload| match payload {
            Ok(wasmparser::Payload::ModuleSection {
                unchecked_range, ..
            }) => component
                .get(unchecked_range.start as usize..unchecked_range.end as usize)
                .map(<[u8]>::to_vec),
            _ => None,
        })
        .expect("the sample has a module");
    Box::new(move || drop(Module::new(&engine, &module[..]).expect("it compiles")))
}

pub(super) fn works() -> Vec<(&'static str, Work)> {
    vec![
        ("engine/compile", compile()),
        ("engine/memories", memories()),
        ("engine/call", call()),
        ("engine/host-call-loop", host_call()),
        ("engine/nested-call-loop", nested_call()),
        ("engine/suspend-resume-loop", suspend_resume()),
    ]
}

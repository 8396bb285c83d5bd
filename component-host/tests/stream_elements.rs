//! Rust types as the elements of streams and the values of futures: derived ones, and what they are
//! made of.

mod common;

use common::Host;
use vestibule_component_host::{
    Accessor, ComponentType, Element, Error, ErrorKind, FutureAny, FutureReader, Instance, Linker,
    Store, StreamAny, StreamReader, future, stream,
};

#[derive(Debug, Clone, PartialEq, ComponentType, Element)]
struct Reading {
    sensor: String,
    value: Value,
    quality: Quality,
    marks: Marks,
    #[component(name = "where")]
    place: (u8, Option<Box<char>>),
    outcome: Result<u32, String>,
    pair: [i16; 2],
}

#[derive(Debug, Clone, PartialEq, ComponentType, Element)]
enum Value {
    None,
    Celsius(f32),
    Several(Vec<u64>),
}

#[derive(Debug, Clone, PartialEq, ComponentType, Element)]
enum Quality {
    Good,
    #[component(name = "not-good")]
    Bad,
}

#[derive(Debug, Clone, PartialEq, ComponentType, Element)]
#[component(flags)]
struct Marks {
    first: bool,
    last: bool,
}

/// The same as far as its name goes.
#[derive(Debug, ComponentType, Element)]
struct Other {
    #[allow(dead_code, reason = "only the type is of interest")]
    sensor: String,
}

/// Gives back the streams and futures that it gets; `relay` those of the host's `source`.
const PASSES: &str = r#"(component
  (type $value' (variant (case "none") (case "celsius" f32) (case "several" (list u64))))
  (export $value "value" (type $value'))
  (type $quality' (enum "good" "not-good"))
  (export $quality "quality" (type $quality'))
  (type $marks' (flags "first" "last"))
  (export $marks "marks" (type $marks'))
  (type $reading' (record
    (field "sensor" string) (field "value" $value) (field "quality" $quality)
    (field "marks" $marks) (field "where" (tuple u8 (option char)))
    (field "outcome" (result u32 (error string))) (field "pair" (list s16 2))))
  (export $reading "reading" (type $reading'))
  (core module $M
    (func (export "pass") (param i32) (result i32) (local.get 0)))
  (core instance $m (instantiate $M))
  (func (export "pass") (param "s" (stream $reading)) (result (stream $reading))
    (canon lift (core func $m "pass")))
  (func (export "pass-one") (param "f" (future $reading)) (result (future $reading))
    (canon lift (core func $m "pass"))))"#;

fn readings() -> Vec<Reading> {
    let reading = |value, quality, marks: (bool, bool), place, outcome| Reading {
        sensor: "attic".to_owned(),
        value,
        quality,
        marks: Marks {
            first: marks.0,
            last: marks.1,
        },
        place,
        outcome,
        pair: [-1, 300],
    };
    vec![
        reading(Value::None, Quality::Good, (true, false), (1, None), Ok(7)),
        reading(
            Value::Celsius(-3.5),
            Quality::Bad,
            (false, true),
            (2, Some(Box::new('ä'))),
            Err("cold".to_owned()),
        ),
        reading(
            Value::Several(vec![1, u64::MAX]),
            Quality::Good,
            (true, true),
            (3, Some(Box::new('x'))),
            Ok(0),
        ),
    ]
}

fn passes(host: &Host) -> (Store<()>, Instance) {
    host.instantiate(PASSES).expect("the sample starts")
}

#[test]
fn derived_elements_go_through_a_guest_and_come_back() {
    let host = Host::new();
    let (store, instance) = passes(&host);
    let pass = instance
        .get_typed_func::<(StreamAny,), (StreamAny,)>(&store, "pass")
        .unwrap();
    let (reader, mut writer) = stream::<Reading>(&store);
    let (passed,) = store
        .block_on(pass.call(&store, (reader.into_any(),)))
        .unwrap();
    let mut reader = StreamReader::<Reading>::new(&store, passed);
    let writing = host
        .executor
        .spawn(async move { writer.write(readings()).await })
        .unwrap();
    let mut read = Vec::new();
    while let Some(chunk) = store.block_on(reader.read()).unwrap() {
        read.extend(chunk);
    }
    assert_eq!(read, readings());
    host.executor.block_on(writing).unwrap().unwrap();
}

#[test]
fn a_derived_value_of_a_future_goes_through_a_guest() {
    let host = Host::new();
    let (store, instance) = passes(&host);
    let pass = instance
        .get_typed_func::<(FutureAny,), (FutureAny,)>(&store, "pass-one")
        .unwrap();
    let (reader, writer) = future::<Reading>(&store);
    let (passed,) = store
        .block_on(pass.call(&store, (reader.into_any(),)))
        .unwrap();
    let expected = readings().swap_remove(1);
    let value = expected.clone();
    let writing = host
        .executor
        .spawn(async move { writer.write(value).await })
        .unwrap();
    let read = store
        .block_on(FutureReader::<Reading>::new(&store, passed))
        .unwrap();
    assert_eq!(read, expected);
    host.executor.block_on(writing).unwrap().unwrap();
}

#[test]
fn a_derived_type_that_does_not_fit_is_refused_before_the_guest_runs() {
    let host = Host::new();
    let (store, instance) = passes(&host);
    let pass = instance
        .get_typed_func::<(StreamAny,), (StreamAny,)>(&store, "pass")
        .unwrap();
    let (reader, _writer) = stream::<Other>(&store);
    let error: Error = store
        .block_on(pass.call(&store, (reader.into_any(),)))
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error}");
    assert!(error.to_string().contains("record `Other`"), "{error}");
    // Read as what it is not.
    let (reader, _writer) = stream::<Reading>(&store);
    let (passed,) = store
        .block_on(pass.call(&store, (reader.into_any(),)))
        .unwrap();
    let mut wrong = StreamReader::<Other>::new(&store, passed);
    let error = store.block_on(wrong.read()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error}");
}

/// Passes the stream of the host's `source` on to whoever calls `relay`.
const RELAYS: &str = r#"(component
  (import "types" (instance $types
    (type $point' (record (field "x" s32) (field "y" s32)))
    (export "point" (type (eq $point')))))
  (alias export $types "point" (type $point))
  (import "source" (func $source (result (stream $point))))
  (core func $source' (canon lower (func $source)))
  (core module $M
    (import "" "source" (func $source (result i32)))
    (func (export "relay") (result i32) (call $source)))
  (core instance $m (instantiate $M (with "" (instance (export "source" (func $source'))))))
  (func (export "relay") (result (stream $point)) (canon lift (core func $m "relay"))))"#;

#[derive(Debug, PartialEq, ComponentType, Element)]
struct Point {
    x: i32,
    y: i32,
}

#[test]
fn a_host_function_returns_a_stream_of_derived_elements() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker.allow_suspending("source");
    linker
        .root()
        .func_async("source", |accessor: Accessor<()>, ()| async move {
            let (reader, mut writer) = stream::<Point>(&accessor);
            let points = (0..3).map(|x| Point { x, y: -x }).collect();
            let writing = async move { writer.write(points).await };
            accessor.executor().spawn(writing).expect("it runs");
            Ok((reader.into_any(),))
        })
        .unwrap();
    let component = host.component(RELAYS);
    let instance = linker.instantiate(&store, &component).unwrap();
    let relay = instance
        .get_typed_func::<(), (StreamAny,)>(&store, "relay")
        .unwrap();
    let (points,) = store.block_on(relay.call(&store, ())).unwrap();
    let mut points = StreamReader::<Point>::new(&store, points);
    let read = store.block_on(points.read()).unwrap().unwrap();
    assert_eq!(read[2], Point { x: 2, y: -2 });
    assert_eq!(read.len(), 3);
}

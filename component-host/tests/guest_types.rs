//! Every kind of value, both ways, with real components made by C and Rust toolchains: through
//! typed calls, and through calls with `Val`s.
//!
//! The components are not part of the repository: they are looked for in the folder that
//! `VESTIBULE_GUESTS` names, or in `../shared/guests` beside the workspace.

mod common;

use common::guest_world::{self, Bag, Color, Data, Entry, Failure, Perms, Point};
use std::io::Write as _;
use vestibule_component_host::{
    Component, Engine, Func, Instance, Lift, Linker, Lower, Resource, ResourceAny, ResourceType,
    Result, Store, Val,
};
use vestibule_executor::Executor;

const API: &str = "demo:types/api@0.1.0";

/// Calls one way or the other.
trait Calls {
    fn call<P: Params, R: Lift>(&self, guest: &Guest, name: &str, params: P) -> Result<R>;
    fn call_unit<P: Params>(&self, guest: &Guest, name: &str, params: P) -> Result<()>;
}

/// Parameters that can also be made into `Val`s.
trait Params: vestibule_component_host::LowerList {
    fn into_vals(self, func: &Func) -> Result<Vec<Val>>;
}

macro_rules! params {
    ($(($($name:ident $index:tt)*))*) => {$(
        impl<$($name: Lower),*> Params for ($($name,)*) {
            fn into_vals(self, func: &Func) -> Result<Vec<Val>> {
                let mut types = func.ty().params().map(|(_, ty)| ty);
                let vals = vec![$(
                    Val::from_rust(self.$index, types.next().expect("a parameter"))?
                ),*];
                assert!(types.next().is_none(), "as many values as parameters");
                Ok(vals)
            }
        }
    )*};
}

params! {
    ()
    (A 0)
    (A 0 B 1)
}

type Many<'a> = (
    u8,
    i8,
    u16,
    i16,
    u32,
    i32,
    u64,
    i64,
    f32,
    f64,
    char,
    bool,
    &'a str,
    Vec<u8>,
    Option<String>,
    Vec<String>,
    (u8, u32),
);

params! {
    (A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11 M 12 N 13 O 14 P 15 Q 16)
}

struct Typed;

impl Calls for Typed {
    fn call<P: Params, R: Lift>(&self, guest: &Guest, name: &str, params: P) -> Result<R> {
        let func = guest
            .instance
            .get_typed_func::<P, (R,)>(&guest.store, name)?;
        let (result,) = guest.store.block_on(func.call(&guest.store, params))?;
        Ok(result)
    }

    fn call_unit<P: Params>(&self, guest: &Guest, name: &str, params: P) -> Result<()> {
        let func = guest.instance.get_typed_func::<P, ()>(&guest.store, name)?;
        guest.store.block_on(func.call(&guest.store, params))
    }
}

struct Dynamic;

impl Calls for Dynamic {
    fn call<P: Params, R: Lift>(&self, guest: &Guest, name: &str, params: P) -> Result<R> {
        let func = guest.instance.get_func(&guest.store, name)?;
        let args = params.into_vals(&func)?;
        let result = guest.store.block_on(func.call(&guest.store, &args))?;
        let ty = func.ty().result().expect("a result");
        result.expect("a result").to_rust(ty)
    }

    fn call_unit<P: Params>(&self, guest: &Guest, name: &str, params: P) -> Result<()> {
        let func = guest.instance.get_func(&guest.store, name)?;
        let args = params.into_vals(&func)?;
        let result = guest.store.block_on(func.call(&guest.store, &args))?;
        assert_eq!(result, None);
        Ok(())
    }
}

struct Guest {
    store: Store<Data>,
    instance: Instance,
}

impl Guest {
    fn line(&self, line: String) {
        self.store
            .with(|data| data.log.push(line))
            .expect("nobody has the data in hand");
    }
}

fn first_line<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => {
            let text = error.to_string();
            text.lines().next().unwrap_or_default().to_owned()
        }
    }
}

fn values(guest: &Guest, calls: &impl Calls) -> Result<()> {
    fn same<V: std::fmt::Debug>(guest: &Guest, name: &str, result: Result<V>) {
        guest.line(format!("{name} -> {}", printed(result)));
    }
    fn printed<V: std::fmt::Debug>(result: Result<V>) -> String {
        match result {
            Ok(value) => format!("Ok({value:?})"),
            Err(error) => error.to_string(),
        }
    }
    let name = |name: &str| format!("{API}#{name}");
    let text: Result<String> = calls.call(guest, &name("echo-string"), ("héllo ✓ 🦀",));
    same(guest, "echo-string", text);
    let text: Result<String> = calls.call(guest, &name("echo-string"), ("",));
    same(guest, "echo-string(empty)", text);
    let list = vec![vec!["a", "b"], vec![], vec![""]];
    let list: Result<Vec<Vec<String>>> = calls.call(guest, &name("echo-list"), (list,));
    same(guest, "echo-list", list);
    let entry: Result<Entry> = calls.call(guest, &name("echo-entry"), (guest_world::ann(),));
    same(guest, "echo-entry", entry);
    let bytes: Result<Vec<u8>> = calls.call(guest, &name("echo-bytes"), (vec![0_u8, 255, 7],));
    same(guest, "echo-bytes", bytes);
    let long: Vec<u8> = (0..1 << 20).map(|i| (i % 251) as u8).collect();
    let back: Vec<u8> = calls.call(guest, &name("echo-bytes"), (long.clone(),))?;
    assert!(back == long, "every byte came back");
    same(guest, "echo-bytes(1MiB)", Ok(back.len()));
    let zero: Result<f64> = calls.call(guest, &name("echo-f64"), (-0.0_f64,));
    let nan: f64 = calls.call(guest, &name("echo-f64"), (f64::NAN,))?;
    guest.line(format!(
        "echo-f64 -> {} Ok({})",
        printed(zero),
        nan.is_nan()
    ));
    let crab: Result<char> = calls.call(guest, &name("echo-char"), ('🦀',));
    same(guest, "echo-char", crab);
    type Nested = Option<Option<Result<u8, String>>>;
    let nested: [Nested; 4] = [
        None,
        Some(None),
        Some(Some(Ok(7))),
        Some(Some(Err("x".to_owned()))),
    ];
    for value in nested {
        let value: Result<Nested> = calls.call(guest, &name("echo-nested"), (value,));
        same(guest, "echo-nested", value);
    }
    let many: Many<'_> = (
        u8::MAX,
        i8::MIN,
        u16::MAX,
        i16::MIN,
        u32::MAX,
        i32::MIN,
        u64::MAX,
        i64::MIN,
        1.5,
        -2.25,
        'ß',
        true,
        "m",
        vec![1, 2],
        Some("o".to_owned()),
        vec!["p".to_owned(), "q".to_owned()],
        (9, 10),
    );
    let many: Result<String> = calls.call(guest, &name("many"), many);
    same(guest, "many", many);
    for shape in guest_world::shapes() {
        let bounds: Result<Option<(Point, Point)>> =
            calls.call(guest, &name("bounding-box"), (shape,));
        same(guest, "bounding-box", bounds);
    }
    let color: Result<Color> = calls.call(guest, &name("cycle"), (Color::Blue,));
    same(guest, "cycle", color);
    let write = Perms {
        write: true,
        ..Perms::default()
    };
    let perms: Result<Perms> = calls.call(guest, &name("toggle"), (write,));
    same(guest, "toggle", perms);
    for key in ["ann", "denied", "code", "zed"] {
        let said: Result<Result<String, Failure>> = calls.call(guest, &name("describe"), (key,));
        same(guest, &format!("describe {key}"), said);
    }
    Ok(())
}

fn resources(guest: &Guest, calls: &impl Calls) -> Result<()> {
    let name = |name: &str| format!("{API}#{name}");
    let extra = guest.store.with(|data| {
        let bag = Bag::new("host", [("b".to_owned(), 100)]);
        data.bags.push(bag)
    })??;
    let lent = Resource::<Bag>::new_borrow(extra.rep());
    let keys = vec!["a", "b", "a"];
    let filled: Resource<Bag> = calls.call(guest, &name("fill"), (keys, lent))?;
    let (bag, left) = guest.store.with(|data| -> Result<_> {
        data.bags.delete(extra)?;
        let bag = data.bags.delete(filled)?;
        Ok((bag, data.bags.len()))
    })??;
    guest.line(format!("fill -> {} {:?}", bag.name, bag.counts));
    assert_eq!(left, 0, "the guest has dropped the bags that it owned");

    let counter: ResourceAny = calls.call(guest, &name("[constructor]counter"), (10_u32,))?;
    let incr: u32 = calls.call(guest, &name("[method]counter.incr"), (counter, 5_u32))?;
    let get: u32 = calls.call(guest, &name("[method]counter.get"), (counter,))?;
    guest.line(format!("incr -> Ok({incr}) Ok({get})"));
    let dropped = |guest: &Guest| -> Result<()> {
        let count: u32 = calls.call(guest, &name("dropped"), ())?;
        guest.line(format!("dropped -> Ok({count})"));
        Ok(())
    };
    let clone: ResourceAny = calls.call(guest, &name("[static]counter.clone-into"), (counter,))?;
    dropped(guest)?;
    let consumed: u32 = calls.call(guest, &name("[static]counter.consume"), (clone,))?;
    guest.line(format!("consume -> Ok({consumed})"));
    dropped(guest)?;
    let done = counter.resource_drop(&guest.store);
    guest.line(format!("resource_drop -> Ok({})", first_line(done)));
    dropped(guest)
}

fn run(bytes: &[u8], calls: &impl Calls) -> Result<Vec<String>> {
    let (executor, engine) = (Executor::new(), Engine::default());
    let store = Store::new(&engine, &executor, Data::default());
    let component = Component::new(&engine, bytes)?;
    let mut linker = Linker::new();
    guest_world::define(&mut linker)?;
    let instance = linker.instantiate(&store, &component)?;
    let guest = Guest { store, instance };
    values(&guest, calls)?;
    resources(&guest, calls)?;
    let trap = calls.call_unit(&guest, &format!("{API}#trap"), ());
    guest.line(format!("trap -> {}", first_line(trap)));
    let after = calls.call::<_, u32>(&guest, &format!("{API}#dropped"), ());
    guest.line(format!("after trap -> {}", first_line(after)));
    guest.store.with(|data| std::mem::take(&mut data.log))
}

const ENTRY: &str = "Entry { name: \"Ann ✓\", age: Some(42), tint: Color::Blue, \
    perms: (READ|EXEC), shapes: [Shape::Empty, Shape::Circle((Point { x: 1, y: -2 }, 1.5)), \
    Shape::Polygon([Point { x: 0, y: 0 }, Point { x: 3, y: -4 }]), Shape::Labelled(\"größe\")], \
    weight: 2.5, initial: 'A', big: 18446744073709551615, neg: -9223372036854775808 }";
const SAID: &str = "Ann ✓ (Some(42)) w=2.5 i=A big=18446744073709551615 \
    neg=-9223372036854775808 empty=0.00 circle=7.07 polygon=2.00 labelled=7.00";

fn expected() -> Vec<String> {
    let lines = [
        "echo-string -> Ok(\"héllo ✓ 🦀\")",
        "echo-string(empty) -> Ok(\"\")",
        "echo-list -> Ok([[\"a\", \"b\"], [], [\"\"]])",
        &format!("echo-entry -> Ok({ENTRY})"),
        "echo-bytes -> Ok([0, 255, 7])",
        "echo-bytes(1MiB) -> Ok(1048576)",
        "echo-f64 -> Ok(-0.0) Ok(true)",
        "echo-char -> Ok('🦀')",
        "echo-nested -> Ok(None)",
        "echo-nested -> Ok(Some(None))",
        "echo-nested -> Ok(Some(Some(Ok(7))))",
        "echo-nested -> Ok(Some(Some(Err(\"x\"))))",
        "many -> Ok(\"255,-128,65535,-32768,4294967295,-2147483648,18446744073709551615,\
         -9223372036854775808,1.5,-2.25,ß,true,m,[1, 2],Some(\\\"o\\\"),[\\\"p\\\", \\\"q\\\"],\
         (9, 10)\")",
        "bounding-box -> Ok(None)",
        "bounding-box -> Ok(Some((Point { x: 0, y: -3 }, Point { x: 2, y: -1 })))",
        "bounding-box -> Ok(Some((Point { x: 0, y: -4 }, Point { x: 3, y: 0 })))",
        "bounding-box -> Ok(None)",
        "cycle -> Ok(Color::Red)",
        "toggle -> Ok((READ|EXEC))",
        &format!("  log: {SAID}"),
        &format!("describe ann -> Ok(Ok({SAID:?}))"),
        "describe denied -> Ok(Err(Failure::Denied))",
        "describe code -> Ok(Err(Failure::Code(-7)))",
        "describe zed -> Ok(Err(Failure::NotFound(\"zed\")))",
        "  log: a was 1",
        "  log: guest bag total 5",
        "fill -> guest+host {\"a\": 3, \"b\": 102}",
        "incr -> Ok(15) Ok(15)",
        "dropped -> Ok(0)",
        "consume -> Ok(15)",
        "dropped -> Ok(1)",
        "resource_drop -> Ok(())",
        "dropped -> Ok(2)",
        "trap -> wasm trap: wasm `unreachable` instruction executed",
        "after trap -> wasm trap: cannot enter component instance",
    ];
    lines.map(str::to_owned).to_vec()
}

#[test]
fn guests_of_real_toolchains_exchange_every_kind_of_value() {
    let Some(folder) = common::guests_folder() else {
        // Written past the test harness, which would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "left out: the real guests, since there is no folder of them; name one in \
             VESTIBULE_GUESTS"
        );
        return;
    };
    for name in ["c-types", "rs-types"] {
        let bytes = std::fs::read(folder.join(format!("{name}.wasm"))).unwrap();
        let typed = run(&bytes, &Typed).unwrap();
        assert_eq!(typed, expected(), "{name}, typed");
        let dynamic = run(&bytes, &Dynamic).unwrap();
        assert_eq!(dynamic, expected(), "{name}, with `Val`s");
    }
    assert_eq!(
        ResourceType::host::<Bag>(),
        ResourceType::host::<Bag>(),
        "a Rust type is one resource type"
    );
}

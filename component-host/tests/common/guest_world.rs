//! The world of the guests that exchange every kind of value, as Rust types and host functions.

use std::collections::BTreeMap;
use std::fmt;
use vestibule_component_host::{
    Caller, ComponentType, Lift, Linker, Lower, Resource, ResourceTable, ResourceType, Result,
};

#[derive(Clone, Copy, Debug, ComponentType, Lift, Lower)]
pub(crate) struct Point {
    pub(crate) x: i32,
    pub(crate) y: i32,
}

#[derive(Clone, Copy, ComponentType, Lift, Lower)]
pub(crate) enum Color {
    Red,
    Green,
    Blue,
}

#[derive(Clone, Copy, Default, ComponentType, Lift, Lower)]
#[component(flags)]
pub(crate) struct Perms {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) exec: bool,
}

#[derive(Clone, ComponentType, Lift, Lower)]
pub(crate) enum Shape {
    Empty,
    Circle((Point, f64)),
    Polygon(Vec<Point>),
    Labelled(String),
}

#[derive(Clone, Debug, ComponentType, Lift, Lower)]
pub(crate) struct Entry {
    name: String,
    age: Option<u8>,
    tint: Color,
    perms: Perms,
    shapes: Vec<Shape>,
    weight: f32,
    initial: char,
    big: u64,
    neg: i64,
}

#[derive(Clone, ComponentType, Lift, Lower)]
pub(crate) enum Failure {
    NotFound(String),
    Denied,
    Code(i16),
}

impl fmt::Debug for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Color::Red => "Color::Red",
            Color::Green => "Color::Green",
            Color::Blue => "Color::Blue",
        })
    }
}

impl fmt::Debug for Perms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [
            (self.read, "READ"),
            (self.write, "WRITE"),
            (self.exec, "EXEC"),
        ];
        let set: Vec<&str> = flags
            .iter()
            .filter(|(set, _)| *set)
            .map(|(_, name)| *name)
            .collect();
        write!(f, "({})", set.join("|"))
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Empty => f.write_str("Shape::Empty"),
            Shape::Circle(circle) => f.debug_tuple("Shape::Circle").field(circle).finish(),
            Shape::Polygon(points) => f.debug_tuple("Shape::Polygon").field(points).finish(),
            Shape::Labelled(label) => f.debug_tuple("Shape::Labelled").field(label).finish(),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NotFound(key) => f.debug_tuple("Failure::NotFound").field(key).finish(),
            Failure::Denied => f.write_str("Failure::Denied"),
            Failure::Code(code) => f.debug_tuple("Failure::Code").field(code).finish(),
        }
    }
}

pub(crate) fn shapes() -> [Shape; 4] {
    [
        Shape::Empty,
        Shape::Circle((Point { x: 1, y: -2 }, 1.5)),
        Shape::Polygon(vec![Point { x: 0, y: 0 }, Point { x: 3, y: -4 }]),
        Shape::Labelled("größe".to_owned()),
    ]
}

pub(crate) fn ann() -> Entry {
    Entry {
        name: "Ann ✓".to_owned(),
        age: Some(42),
        tint: Color::Blue,
        perms: Perms {
            read: true,
            exec: true,
            ..Perms::default()
        },
        shapes: shapes().to_vec(),
        weight: 2.5,
        initial: 'A',
        big: u64::MAX,
        neg: i64::MIN,
    }
}

/// The host's data.
#[derive(Default)]
pub(crate) struct Data {
    pub(crate) log: Vec<String>,
    pub(crate) bags: ResourceTable,
}

/// A resource that the host implements.
pub(crate) struct Bag {
    pub(crate) name: String,
    pub(crate) counts: BTreeMap<String, u32>,
}

impl Bag {
    pub(crate) fn new(name: &str, counts: impl IntoIterator<Item = (String, u32)>) -> Bag {
        Bag {
            name: name.to_owned(),
            counts: counts.into_iter().collect(),
        }
    }
}

type Host<'a> = Caller<'a, Data>;

/// Defines the host's functions and its resource.
pub(crate) fn define(linker: &mut Linker<Data>) -> Result<()> {
    let mut host = linker.instance("demo:types/host@0.1.0")?;
    host.func("log", |mut host: Host<'_>, (line,): (String,)| {
        host.data_mut().log.push(format!("  log: {line}"));
        Ok(())
    })?;
    host.func("lookup", |_: Host<'_>, (key,): (String,)| {
        Ok((match key.as_str() {
            "ann" => Ok(ann()),
            "denied" => Err(Failure::Denied),
            "code" => Err(Failure::Code(-7)),
            _ => Err(Failure::NotFound(key)),
        },))
    })?;
    host.func("area", |_: Host<'_>, (shapes,): (Vec<Shape>,)| {
        let areas = shapes.iter().map(|shape| match shape {
            Shape::Empty => 0.0,
            Shape::Circle((_, radius)) => std::f64::consts::PI * radius * radius,
            Shape::Polygon(points) => points.len() as f64,
            Shape::Labelled(label) => label.len() as f64,
        });
        Ok((areas.collect::<Vec<f64>>(),))
    })?;
    host.func("many", many)?;
    define_bag(linker)
}

type Many = (
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
    String,
    Vec<u8>,
    Option<String>,
    Vec<String>,
    (u8, u32),
);

#[allow(clippy::many_single_char_names, reason = "the guest's names")]
fn many(
    _: Host<'_>,
    (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q): Many,
) -> Result<(String,)> {
    Ok((format!(
        "{a},{b},{c},{d},{e},{f},{g},{h},{i},{j},{k},{l},{m},{n:?},{o:?},{p:?},{q:?}"
    ),))
}

fn define_bag(linker: &mut Linker<Data>) -> Result<()> {
    let mut host = linker.instance("demo:types/host@0.1.0")?;
    host.resource(
        "bag",
        ResourceType::host::<Bag>(),
        |mut host: Host<'_>, rep| {
            host.data_mut().bags.delete(Resource::<Bag>::new_own(rep))?;
            Ok(())
        },
    )?;
    host.func(
        "[constructor]bag",
        |mut host: Host<'_>, (name,): (String,)| {
            Ok((host.data_mut().bags.push(Bag::new(&name, []))?,))
        },
    )?;
    host.func(
        "[method]bag.put",
        |mut host: Host<'_>, (bag, key, value): (Resource<Bag>, String, u32)| {
            let bag = host.data_mut().bags.get_mut(&bag)?;
            Ok((bag.counts.insert(key, value),))
        },
    )?;
    host.func(
        "[method]bag.total",
        |host: Host<'_>, (bag,): (Resource<Bag>,)| {
            let bag = host.data().bags.get(&bag)?;
            Ok((bag
                .counts
                .values()
                .map(|count| u64::from(*count))
                .sum::<u64>(),))
        },
    )?;
    host.func(
        "[static]bag.merge",
        |mut host: Host<'_>, (a, b): (Resource<Bag>, Resource<Bag>)| {
            let bags = &mut host.data_mut().bags;
            let mut merged = bags.delete(a)?;
            let other = bags.get(&b)?;
            merged.name = format!("{}+{}", merged.name, other.name);
            for (key, count) in &other.counts {
                *merged.counts.entry(key.clone()).or_default() += count;
            }
            Ok((bags.push(merged)?,))
        },
    )
}

//! Types of component-level values and functions, resolved: no index is left to be looked up.
//!
//! Compound types are shared, and equal by structure; resource types are equal by identity. Each
//! compound type keeps what the Canonical ABI asks of it (see `abi::layout`), so that nothing is
//! computed by recursion later. The validator allows 100 levels and 1,000,000 parts.

mod display;
mod equality;

use crate::abi::flattening::{MAX_FLAT_PARAMS, scalar_core_type};
use crate::abi::layout::{
    FlatTypes, Layout, PerPtrType, RecordLayout, VariantLayout, layout_fixed_length_list,
};
use crate::abi::options::PtrType;
use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A name in the component model: shared, since values carry the names of their types.
pub type Name = Arc<str>;

/// The type of a component-level value.
#[derive(Clone)]
#[non_exhaustive]
pub enum Type {
    /// `bool`
    Bool,
    /// `s8`
    S8,
    /// `u8`
    U8,
    /// `s16`
    S16,
    /// `u16`
    U16,
    /// `s32`
    S32,
    /// `u32`
    U32,
    /// `s64`
    S64,
    /// `u64`
    U64,
    /// `f32`
    Float32,
    /// `f64`
    Float64,
    /// `char`: a Unicode scalar value
    Char,
    /// `string`
    String,
    /// `error-context`
    ErrorContext,
    /// `list<T>`
    List(Arc<List>),
    /// `list<T, N>`
    FixedLengthList(Arc<FixedLengthList>),
    /// `map<K, V>`
    Map(Arc<Map>),
    /// `record { name: T, .. }`
    Record(Arc<Record>),
    /// `tuple<T, ..>`
    Tuple(Arc<Tuple>),
    /// `variant { name(T), .. }`
    Variant(Arc<Variant>),
    /// `enum { name, .. }`
    Enum(Arc<Enum>),
    /// `option<T>`
    Option(Arc<OptionType>),
    /// `result<T, E>`
    Result(Arc<ResultType>),
    /// `flags { name, .. }`
    Flags(Arc<Flags>),
    /// `own<R>`
    Own(ResourceType),
    /// `borrow<R>`
    Borrow(ResourceType),
    /// `stream<T>`
    Stream(Option<Arc<Type>>),
    /// `future<T>`
    Future(Option<Arc<Type>>),
}

/// The identity of a resource type, unique in this process.
///
/// Each instance of a component that defines a resource type makes a new one; the embedder makes
/// those that it implements itself with [`host`](ResourceType::host).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceType(u64);

/// What a type is made of, as far as rules ask for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents {
    pub(crate) borrow: bool,
    /// An `own` or a `borrow`.
    pub(crate) resource: bool,
    /// A stream or a future.
    pub(crate) async_value: bool,
    /// Neither pointers nor handles: its bytes in memory are all of it, the same in every memory.
    pub(crate) plain: bool,
    /// The bytes a value takes [on its way](crate::transit), but for what its strings and lists
    /// hold. It saturates.
    pub(crate) weight: u64,
    /// As `weight`, for a value as a [`Val`](crate::Val).
    pub(crate) tree: u64,
}

/// The type of a list.
#[derive(Clone)]
pub struct List {
    ty: Type,
}

/// The type of a list whose length is part of the type.
#[derive(Clone)]
pub struct FixedLengthList {
    ty: Type,
    length: u32,
    contents: Contents,
    layouts: PerPtrType<Layout>,
}

/// The type of a map; at the binary level, a list of pairs.
#[derive(Clone)]
pub struct Map {
    key: Type,
    value: Type,
    contents: Contents,
    /// Of the pair.
    layouts: PerPtrType<RecordLayout>,
}

/// The type of a record.
#[derive(Clone)]
pub struct Record {
    fields: Box<[(Name, Type)]>,
    contents: Contents,
    layouts: PerPtrType<RecordLayout>,
}

/// The type of a tuple.
#[derive(Clone)]
pub struct Tuple {
    types: Box<[Type]>,
    contents: Contents,
    layouts: PerPtrType<RecordLayout>,
}

/// The type of a variant.
#[derive(Clone)]
pub struct Variant {
    cases: Box<[(Name, Option<Type>)]>,
    /// The cases' indices, in the order of their names.
    sorted: Box<[u32]>,
    contents: Contents,
    layouts: PerPtrType<VariantLayout>,
}

/// The type of an enum: a variant without payloads.
#[derive(Clone)]
pub struct Enum {
    names: Box<[Name]>,
    /// The cases' indices, in the order of their names.
    sorted: Box<[u32]>,
    layouts: PerPtrType<VariantLayout>,
}

/// The type of an option.
#[derive(Clone)]
pub struct OptionType {
    ty: Type,
    contents: Contents,
    layouts: PerPtrType<VariantLayout>,
}

/// The type of a result.
#[derive(Clone)]
pub struct ResultType {
    ok: Option<Type>,
    err: Option<Type>,
    contents: Contents,
    layouts: PerPtrType<VariantLayout>,
}

/// The type of a set of flags, at most 32.
#[derive(Clone)]
pub struct Flags {
    names: Box<[Name]>,
}

/// The type of a component-level function.
#[derive(Clone)]
pub struct FuncType {
    async_: bool,
    names: Box<[Name]>,
    params: ValueTypes,
    result: ValueTypes,
}

/// The types of a parameter list, or of a result: none or one. The spec's `ts`.
#[derive(Clone)]
pub(crate) struct ValueTypes {
    types: Box<[Type]>,
    contents: Contents,
    /// Of the tuple they are passed as when they go by memory.
    layouts: PerPtrType<RecordLayout>,
    flat_numbers: bool,
}

impl ResourceType {
    /// The resource type that the embedder implements by the Rust type `T`, the same each time.
    ///
    /// It may be given to any number of linkers; in each store, values of it are the embedder's:
    /// [`Resource<T>`](crate::Resource) or [`ResourceAny`](crate::ResourceAny).
    pub fn host<T: 'static>() -> ResourceType {
        static BY_TYPE: Mutex<BTreeMap<TypeId, ResourceType>> = Mutex::new(BTreeMap::new());
        // A panic cannot leave the map half changed.
        let mut by_type = BY_TYPE.lock().unwrap_or_else(PoisonError::into_inner);
        let ty = by_type.entry(TypeId::of::<T>());
        *ty.or_insert_with(ResourceType::fresh)
    }

    /// Makes a resource type that the embedder implements, unlike any other.
    pub fn host_dynamic() -> ResourceType {
        ResourceType::fresh()
    }

    /// A type unlike any other.
    pub(crate) fn fresh() -> ResourceType {
        // Starts at 1 and would need centuries to wrap.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        ResourceType(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl std::fmt::Display for ResourceType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Type {
    pub(crate) fn list(ty: Type) -> Type {
        Type::List(Arc::new(List { ty }))
    }

    pub(crate) fn fixed_length_list(ty: Type, length: u32) -> Type {
        Type::FixedLengthList(Arc::new(FixedLengthList::new(ty, length)))
    }

    pub(crate) fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(Map::new(key, value)))
    }

    pub(crate) fn record(fields: impl Into<Box<[(Name, Type)]>>) -> Type {
        Type::Record(Arc::new(Record::new(fields)))
    }

    pub(crate) fn tuple(types: impl Into<Box<[Type]>>) -> Type {
        Type::Tuple(Arc::new(Tuple::new(types)))
    }

    pub(crate) fn variant(cases: impl Into<Box<[(Name, Option<Type>)]>>) -> Type {
        Type::Variant(Arc::new(Variant::new(cases)))
    }

    pub(crate) fn enum_(names: impl Into<Box<[Name]>>) -> Type {
        Type::Enum(Arc::new(Enum::new(names)))
    }

    pub(crate) fn option(ty: Type) -> Type {
        Type::Option(Arc::new(OptionType::new(ty)))
    }

    pub(crate) fn result(ok: Option<Type>, err: Option<Type>) -> Type {
        Type::Result(Arc::new(ResultType::new(ok, err)))
    }

    pub(crate) fn flags(names: impl Into<Box<[Name]>>) -> Type {
        Type::Flags(Arc::new(Flags {
            names: names.into(),
        }))
    }

    pub(crate) fn stream(ty: Option<Type>) -> Type {
        Type::Stream(ty.map(Arc::new))
    }

    pub(crate) fn future(ty: Option<Type>) -> Type {
        Type::Future(ty.map(Arc::new))
    }

    pub(crate) fn contents(&self) -> Contents {
        match self {
            Type::Own(_) => Contents {
                resource: true,
                ..Contents::HANDLE
            },
            Type::Borrow(_) => Contents {
                borrow: true,
                resource: true,
                ..Contents::HANDLE
            },
            // What they carry is no part of the value itself.
            Type::Stream(t) | Type::Future(t) => Contents {
                borrow: t.as_ref().is_some_and(|t| t.contents().borrow),
                async_value: true,
                ..Contents::HANDLE
            },
            Type::ErrorContext | Type::String => Contents::HANDLE,
            Type::List(list) => list.ty.contents().in_a_list(),
            Type::FixedLengthList(list) => list.contents,
            Type::Option(option) => option.contents,
            Type::Map(map) => map.contents.in_a_list(),
            Type::Record(record) => record.contents,
            Type::Tuple(tuple) => tuple.contents,
            Type::Variant(variant) => variant.contents,
            Type::Result(result) => result.contents,
            Type::Flags(flags) => Contents {
                tree: flags.names.len() as u64 * size_of::<Name>() as u64 + Contents::VAL,
                ..Contents::SCALAR
            },
            _ => Contents::SCALAR,
        }
    }
}

impl Contents {
    const VAL: u64 = size_of::<crate::val::Val>() as u64;

    /// One word.
    const SCALAR: Contents = Contents {
        borrow: false,
        resource: false,
        async_value: false,
        plain: true,
        weight: 8,
        tree: Contents::VAL,
    };

    /// Something that is kept beside the words.
    const HANDLE: Contents = Contents {
        plain: false,
        weight: 8 + Contents::VAL,
        ..Contents::SCALAR
    };

    /// Of a list with such elements.
    fn in_a_list(self) -> Contents {
        Contents {
            plain: false,
            weight: Contents::HANDLE.weight,
            tree: Contents::HANDLE.tree,
            ..self
        }
    }

    fn join(self, other: Contents) -> Contents {
        Contents {
            borrow: self.borrow || other.borrow,
            resource: self.resource || other.resource,
            async_value: self.async_value || other.async_value,
            plain: self.plain && other.plain,
            weight: self.weight,
            tree: self.tree,
        }
    }

    /// Of parts that are all there, each with `named` bytes for its name.
    fn of<'a>(parts: impl IntoIterator<Item = &'a Type>, named: usize) -> Contents {
        let none = Contents {
            weight: 0,
            ..Contents::SCALAR
        };
        let parts = parts.into_iter().map(Type::contents);
        parts.fold(none, |all, part| Contents {
            weight: all.weight.saturating_add(part.weight),
            tree: all
                .tree
                .saturating_add(part.tree)
                .saturating_add(named as u64),
            ..all.join(part)
        })
    }

    /// Of payloads of which one is there, after a discriminant.
    fn of_cases<'a>(payloads: impl IntoIterator<Item = &'a Type>) -> Contents {
        let payloads = payloads.into_iter().map(Type::contents);
        payloads.fold(Contents::SCALAR, |all, part| Contents {
            weight: all.weight.max(part.weight.saturating_add(8)),
            tree: all.tree.max(part.tree.saturating_add(Contents::VAL)),
            ..all.join(part)
        })
    }

    /// Of so many parts that are alike.
    fn times(self, count: u32) -> Contents {
        let count = u64::from(count);
        Contents {
            weight: self.weight.saturating_mul(count),
            tree: self
                .tree
                .saturating_mul(count)
                .saturating_add(Contents::VAL),
            ..self
        }
    }
}

impl List {
    /// The type of the elements.
    pub fn ty(&self) -> &Type {
        &self.ty
    }
}

impl FixedLengthList {
    fn new(ty: Type, length: u32) -> FixedLengthList {
        FixedLengthList {
            layouts: PerPtrType::new(|ptr_type| layout_fixed_length_list(&ty, length, ptr_type)),
            contents: ty.contents().times(length),
            ty,
            length,
        }
    }

    /// The type of the elements.
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// The number of elements.
    pub fn size(&self) -> u32 {
        self.length
    }

    pub(crate) fn layout(&self, ptr_type: PtrType) -> &Layout {
        &self.layouts[ptr_type]
    }
}

impl Map {
    fn new(key: Type, value: Type) -> Map {
        let pair = [&key, &value];
        Map {
            contents: Contents::of(pair, 0),
            layouts: PerPtrType::new(|ptr_type| RecordLayout::new(pair.into_iter(), ptr_type)),
            key,
            value,
        }
    }

    /// The type of the keys.
    pub fn key(&self) -> &Type {
        &self.key
    }

    /// The type of the values.
    pub fn value(&self) -> &Type {
        &self.value
    }

    /// Those of the pair.
    pub(crate) fn pair_contents(&self) -> Contents {
        self.contents
    }

    /// That of the pair `tuple<K, V>`, which is what the list in memory holds.
    pub(crate) fn layout(&self, ptr_type: PtrType) -> &RecordLayout {
        &self.layouts[ptr_type]
    }
}

impl Record {
    pub(crate) fn new(fields: impl Into<Box<[(Name, Type)]>>) -> Record {
        let fields = fields.into();
        let types = fields.iter().map(|(_, ty)| ty);
        Record {
            contents: Contents::of(types.clone(), size_of::<Name>()),
            layouts: PerPtrType::new(|ptr_type| RecordLayout::new(types.clone(), ptr_type)),
            fields,
        }
    }

    /// The names and types of the fields.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &Type)> + Clone {
        self.fields.iter().map(|(name, ty)| (&**name, ty))
    }

    pub(crate) fn named_fields(&self) -> &[(Name, Type)] {
        &self.fields
    }

    pub(crate) fn layout(&self, ptr_type: PtrType) -> &RecordLayout {
        &self.layouts[ptr_type]
    }
}

impl Tuple {
    pub(crate) fn new(types: impl Into<Box<[Type]>>) -> Tuple {
        let types = types.into();
        Tuple {
            contents: Contents::of(&types, 0),
            layouts: PerPtrType::new(|ptr_type| RecordLayout::new(types.iter(), ptr_type)),
            types,
        }
    }

    /// The types of the elements.
    pub fn types(&self) -> &[Type] {
        &self.types
    }

    pub(crate) fn layout(&self, ptr_type: PtrType) -> &RecordLayout {
        &self.layouts[ptr_type]
    }
}

impl Variant {
    pub(crate) fn new(cases: impl Into<Box<[(Name, Option<Type>)]>>) -> Variant {
        let cases = cases.into();
        let types = cases.iter().map(|(_, ty)| ty.as_ref());
        Variant {
            sorted: sort_names(cases.iter().map(|(name, _)| name)),
            contents: Contents::of_cases(types.clone().flatten()),
            layouts: PerPtrType::new(|ptr_type| VariantLayout::new(types.clone(), ptr_type)),
            cases,
        }
    }

    /// The names of the cases, and the types of their payloads.
    pub fn cases(&self) -> impl ExactSizeIterator<Item = (&str, Option<&Type>)> + Clone {
        self.cases.iter().map(|(name, ty)| (&**name, ty.as_ref()))
    }

    pub(crate) fn named_cases(&self) -> &[(Name, Option<Type>)] {
        &self.cases
    }

    /// The index of the case of this name.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        find_name(&self.sorted, name, |index| {
            self.cases.get(index).map(|(name, _)| name)
        })
    }

    pub(crate) fn layout(&self, ptr_type: PtrType) -> &VariantLayout {
        &self.layouts[ptr_type]
    }
}

impl Enum {
    pub(crate) fn new(names: impl Into<Box<[Name]>>) -> Enum {
        let names = names.into();
        let cases = names.iter().map(|_| None);
        Enum {
            sorted: sort_names(names.iter()),
            layouts: PerPtrType::new(|ptr_type| VariantLayout::new(cases.clone(), ptr_type)),
            names,
        }
    }

    /// The names of the cases.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.names.iter().map(|name| &**name)
    }

    pub(crate) fn shared_names(&self) -> &[Name] {
        &self.names
    }

    /// The index of the case of this name.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        find_name(&self.sorted, name, |index| self.names.get(index))
    }

    pub(crate) fn layout(&self, ptr_type: PtrType) -> &VariantLayout {
        &self.layouts[ptr_type]
    }
}

impl OptionType {
    fn new(ty: Type) -> OptionType {
        let cases = [None, Some(&ty)];
        OptionType {
            layouts: PerPtrType::new(|ptr_type| VariantLayout::new(cases.into_iter(), ptr_type)),
            contents: Contents::of_cases([&ty]),
            ty,
        }
    }

    /// The type of what may be there.
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    pub(crate) fn layout(&self, ptr_type: PtrType) -> &VariantLayout {
        &self.layouts[ptr_type]
    }
}

impl ResultType {
    fn new(ok: Option<Type>, err: Option<Type>) -> ResultType {
        let cases = [ok.as_ref(), err.as_ref()];
        ResultType {
            contents: Contents::of_cases(cases.into_iter().flatten()),
            layouts: PerPtrType::new(|ptr_type| VariantLayout::new(cases.into_iter(), ptr_type)),
            ok,
            err,
        }
    }

    /// The type of the payload of `ok`.
    pub fn ok(&self) -> Option<&Type> {
        self.ok.as_ref()
    }

    /// The type of the payload of `err`.
    pub fn err(&self) -> Option<&Type> {
        self.err.as_ref()
    }

    pub(crate) fn layout(&self, ptr_type: PtrType) -> &VariantLayout {
        &self.layouts[ptr_type]
    }
}

impl Flags {
    /// The names of the flags.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.names.iter().map(|name| &**name)
    }

    pub(crate) fn shared_names(&self) -> &[Name] {
        &self.names
    }
}

impl FuncType {
    pub(crate) fn new(
        async_: bool,
        params: impl IntoIterator<Item = (Name, Type)>,
        result: Option<Type>,
    ) -> FuncType {
        let (names, params): (Vec<Name>, Vec<Type>) = params.into_iter().unzip();
        FuncType {
            async_,
            names: names.into(),
            params: ValueTypes::new(params),
            result: ValueTypes::new(result.into_iter().collect::<Vec<_>>()),
        }
    }

    /// Whether its type is `async`: it may block before it returns.
    pub fn is_async(&self) -> bool {
        self.async_
    }

    /// The names and types of the parameters.
    pub fn params(&self) -> impl ExactSizeIterator<Item = (&str, &Type)> + Clone {
        let names = self.names.iter().map(|name| &**name);
        names.zip(self.params.types())
    }

    /// The type of the result.
    pub fn result(&self) -> Option<&Type> {
        self.result.types().first()
    }

    pub(crate) fn param_types(&self) -> &ValueTypes {
        &self.params
    }

    pub(crate) fn result_type(&self) -> &ValueTypes {
        &self.result
    }
}

impl ValueTypes {
    pub(crate) fn new(types: impl Into<Box<[Type]>>) -> ValueTypes {
        let types = types.into();
        let is_number = |t: &Type| t.contents().plain && scalar_core_type(t).is_some();
        ValueTypes {
            flat_numbers: types.len() <= MAX_FLAT_PARAMS && types.iter().all(is_number),
            layouts: PerPtrType::new(|ptr_type| RecordLayout::new(types.iter(), ptr_type)),
            contents: Contents::of(&types, 0),
            types,
        }
    }

    pub(crate) fn contents(&self) -> Contents {
        self.contents
    }

    pub(crate) fn types(&self) -> &[Type] {
        &self.types
    }

    /// Whether each is a number, a truth value, a character or flags, and all of them are flat.
    pub(crate) fn are_flat_numbers(&self) -> bool {
        self.flat_numbers
    }

    /// That of `tuple<..>` of the types.
    pub(crate) fn layout(&self, ptr_type: PtrType) -> &RecordLayout {
        &self.layouts[ptr_type]
    }

    /// The flat types, when there are at most `max_flat`; else the values go by memory.
    pub(crate) fn flat(&self, max_flat: usize, ptr_type: PtrType) -> Option<&FlatTypes> {
        let flat = self.layout(ptr_type).layout.flat.as_ref();
        flat.filter(|flat| flat.len() <= max_flat)
    }
}

fn sort_names<'a>(names: impl Iterator<Item = &'a Name>) -> Box<[u32]> {
    let names: Vec<&Name> = names.collect();
    let mut sorted: Vec<u32> = (0..).take(names.len()).collect();
    sorted.sort_by_key(|index| names[*index as usize]);
    sorted.into()
}

fn find_name<'a>(
    sorted: &[u32],
    name: &str,
    name_of: impl Fn(usize) -> Option<&'a Name>,
) -> Option<u32> {
    let position = sorted.binary_search_by(|index| {
        name_of(*index as usize).map_or(std::cmp::Ordering::Less, |found| (**found).cmp(name))
    });
    sorted.get(position.ok()?).copied()
}

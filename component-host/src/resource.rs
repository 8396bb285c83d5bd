//! Resources that the embedder implements, as Rust types.

use std::fmt;
use std::marker::PhantomData;

/// A resource of a type that the embedder implements: a representation, and whether it is owned.
///
/// `T` names the type: [`ResourceType::host::<T>()`](crate::ResourceType::host), defined with
/// [`LinkerInstance::resource`](crate::LinkerInstance::resource). The representation may be
/// anything; a [`ResourceTable`](crate::ResourceTable) gives out those that lead to values of type
/// `T`. Dropping a `Resource` does nothing: it is no more than a number.
pub struct Resource<T> {
    rep: u32,
    owned: bool,
    ty: PhantomData<fn() -> T>,
}

impl<T: 'static> Resource<T> {
    /// An `own`.
    pub fn new_own(rep: u32) -> Resource<T> {
        Resource {
            rep,
            owned: true,
            ty: PhantomData,
        }
    }

    /// A `borrow`.
    pub fn new_borrow(rep: u32) -> Resource<T> {
        Resource {
            owned: false,
            ..Resource::new_own(rep)
        }
    }

    /// The representation.
    pub fn rep(&self) -> u32 {
        self.rep
    }

    /// Whether it is an `own`: the host may give it away, and its destructor was not called.
    pub fn owned(&self) -> bool {
        self.owned
    }
}

impl<T> fmt::Debug for Resource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.owned { "own" } else { "borrow" };
        write!(f, "{kind}<{}>({})", std::any::type_name::<T>(), self.rep)
    }
}

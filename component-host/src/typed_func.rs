//! Functions that are called with Rust types.

use crate::error::Result;
use crate::func::{Func, HostCall};
use crate::instance::Instance;
use crate::store::Store;
use crate::transit::Transit;
use crate::typed::{LiftList, LowerList, check_func};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;

/// An exported function that takes `P` and returns `R`, as was checked when it was made.
///
/// `P` is a tuple of types that [`Lower`](crate::Lower), `R` a tuple of none or one that
/// [`Lift`](crate::Lift).
pub struct TypedFunc<P, R> {
    func: Func,
    types: PhantomData<fn(P) -> R>,
}

impl Func {
    /// The function, to be called with Rust types.
    ///
    /// # Errors
    ///
    /// `Type` when the Rust types are not the function's: it says where they differ, and both types
    /// there. `Link` when the function belongs to another store.
    pub fn typed<P, R>(&self, store: &Store<impl Sized + 'static>) -> Result<TypedFunc<P, R>>
    where
        P: LowerList,
        R: LiftList,
    {
        self.check_store(&store.inner)?;
        check_func::<P, R>(self.ty(), "the Rust function").map_err(|problem| {
            self.wrong(&format_args!("{problem}; the function is {}", self.ty()))
        })?;
        Ok(TypedFunc {
            func: self.clone(),
            types: PhantomData,
        })
    }
}

impl Instance {
    /// The exported function of the given name, to be called with Rust types; as
    /// [`get_func`](Instance::get_func) and [`Func::typed`].
    ///
    /// # Errors
    ///
    /// `Link` when there is no such function, `Type` when its types are others.
    pub fn get_typed_func<P, R>(
        &self,
        store: &Store<impl Sized + 'static>,
        name: &str,
    ) -> Result<TypedFunc<P, R>>
    where
        P: LowerList,
        R: LiftList,
    {
        self.get_func(store, name)?.typed(store)
    }
}

impl<P: LowerList, R: LiftList> TypedFunc<P, R> {
    /// Calls the function.
    ///
    /// When it begins, what its errors are, and what becomes of it when the future is dropped is
    /// as with [`Func::call`]; but no type is compared, and no [`Val`](crate::Val) made.
    #[track_caller]
    pub fn call<T: 'static>(
        &self,
        store: &Store<T>,
        params: P,
    ) -> impl Future<Output = Result<R>> + use<T, P, R> {
        let at = Location::caller();
        // Now, and not when the future is polled: the parameters may be borrowed.
        let call = self.lower(&store.inner, params);
        self.func.call_with(&store.inner, call, at, |ty, results| {
            R::lift_all(ty.result_type().types(), &mut results.read())
        })
    }

    fn lower(&self, store: &Rc<crate::store::StoreInner>, params: P) -> Result<Rc<HostCall>> {
        self.func.check_store(store)?;
        let mut args = Transit::new();
        params.lower_all(self.func.ty().param_types().types(), &mut args)?;
        Ok(HostCall::new(args, false))
    }

    /// The function, to be called with `Val`s.
    pub fn func(&self) -> &Func {
        &self.func
    }
}

impl<P, R> Clone for TypedFunc<P, R> {
    fn clone(&self) -> TypedFunc<P, R> {
        TypedFunc {
            func: self.func.clone(),
            types: PhantomData,
        }
    }
}

impl<P, R> fmt::Debug for TypedFunc<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedFunc").field(&self.func).finish()
    }
}

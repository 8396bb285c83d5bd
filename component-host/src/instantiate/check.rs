//! Compares a component's imports with what is offered, without making anything: the walk of an
//! instantiation, in which only names and types are followed.

use super::{Imports, Walk, root_name};
use crate::component::Component;
use crate::component::definitions::{Alias, Canon, Definition, InstanceDef, TypeDef};
use crate::error::{Result, bug};
use crate::linker::stub_func;
use crate::runtime::{Item, RtType};
use crate::store::Store;
use crate::types::ResourceType;
use std::panic::Location;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use vestibule_executor::Executor;

/// Fails when the component could not be instantiated with these imports for the sake of their
/// types, or because it is larger than an instance may be.
pub(crate) fn check(component: &Component, imports: &dyn Imports) -> Result<()> {
    // Instances are counted in a store; nothing of it is used otherwise.
    let executor = Executor::new();
    let store = Store::new(&component.engine, &executor, ());
    let mut walk = Walk::new(&store.inner, imports, Location::caller(), false);
    walk.types_only = true;
    let root = root_name(component);
    let walked = pin!(walk.run(component, &root));
    match walked.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(checked) => checked.map(drop),
        Poll::Pending => Err(bug!("a check has yielded")),
    }
}

impl Walk<'_> {
    /// As [`define`](Walk::define), for types alone: whatever is of the core language is left out,
    /// and stubs stand for functions.
    pub(super) fn define_type(&mut self, definition: &Definition) -> Result<()> {
        match definition {
            Definition::Instance(InstanceDef::Instantiate { component, args }) => {
                self.instantiate_inner(*component, args)
            }
            Definition::Import { name, ty } => self.import(name, ty),
            Definition::CoreInstance(_) | Definition::Alias(Alias::CoreInstanceExport { .. }) => {
                Ok(())
            }
            Definition::Canon(Canon::Lift { ty, .. }) => {
                let scope = self.scope()?;
                let ty = scope.env.func_type(*ty)?;
                scope.add(Item::Func(stub_func("a lifted function".into(), &ty)), None);
                Ok(())
            }
            Definition::Canon(_) => Ok(()),
            Definition::Type(TypeDef::Resource { .. }) => {
                let ty = RtType::Resource(ResourceType::fresh());
                self.scope()?.env.add_type(ty);
                Ok(())
            }
            plain => self.scope()?.define_plain(plain),
        }
    }
}

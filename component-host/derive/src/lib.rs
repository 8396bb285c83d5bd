//! Derive macros of `vestibule-component-host`, which exports them: `ComponentType`, `Lift`, `Lower`
//! and `Element` for structs and enums. See the documentation of its module `typed`.

mod element;
mod expand;
mod input;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives `ComponentType`: what the type is, and how it is compared with a component's.
///
/// A struct is a record, an enum without payloads an enum, any other enum a variant. Names are
/// turned into kebab case. `#[component(..)]` on the type takes `record`, `variant`, `enum`, or
/// `flags` for a struct of `bool`s; on a field or a case it takes `name = "..."`.
#[proc_macro_derive(ComponentType, attributes(component))]
pub fn component_type(item: TokenStream) -> TokenStream {
    derive(item, expand::component_type)
}

/// Derives `Lift`: values of the type arrive.
#[proc_macro_derive(Lift, attributes(component))]
pub fn lift(item: TokenStream) -> TokenStream {
    derive(item, expand::lift)
}

/// Derives `Lower`: values of the type are sent.
#[proc_macro_derive(Lower, attributes(component))]
pub fn lower(item: TokenStream) -> TokenStream {
    derive(item, expand::lower)
}

/// Derives `Element`: values of the type are the elements of streams, and the values of futures. The
/// type is a `ComponentType` besides, and what it is made of are elements too.
#[proc_macro_derive(Element, attributes(component))]
pub fn element(item: TokenStream) -> TokenStream {
    derive(item, element::element)
}

fn derive(item: TokenStream, expand: fn(&input::Input) -> proc_macro2::TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as DeriveInput);
    match input::Input::new(item) {
        Ok(input) => expand(&input).into(),
        Err(error) => error.into_compile_error().into(),
    }
}

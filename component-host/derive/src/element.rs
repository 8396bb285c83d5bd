//! The derived implementation of elements of streams, which are kept as `Val`s.

use crate::input::{Case, Field, Input, Shape};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse_quote;
use syn::spanned::Spanned;

pub(crate) fn element(input: &Input) -> TokenStream {
    let krate = quote!(::vestibule_component_host);
    let derived = quote!(#krate::typed::__derived);
    let value = quote!(#derived::ElementValue);
    let some = quote!(::core::option::Option::Some);
    let none = quote!(::core::option::Option::None);
    let (from, into) = match &input.shape {
        Shape::Record(fields) => {
            let names = fields.iter().map(|field| &field.name);
            let from = fields.iter().map(|Field { ident, ty, .. }| {
                quote_spanned!(ty.span()=> #ident: #value::from_val(fields.next()?)?)
            });
            let into = fields.iter().map(|Field { ident, name, ty }| {
                quote_spanned!(ty.span()=> (#name, #value::into_val(self.#ident)))
            });
            let from = quote! {
                let mut fields = #derived::record_fields(val, &[#(#names),*])?.into_iter();
                #some(Self { #(#from),* })
            };
            (from, quote!(#derived::record_val([#(#into),*])))
        }
        Shape::Flags(fields) => {
            let names = fields.iter().map(|field| &field.name);
            let from = fields
                .iter()
                .map(|Field { ident, .. }| quote!(#ident: flags.next()?));
            let into = fields
                .iter()
                .map(|Field { ident, name, .. }| quote!((#name, self.#ident)));
            let from = quote! {
                let mut flags = #derived::flags_set(val, &[#(#names),*])?.into_iter();
                #some(Self { #(#from),* })
            };
            (from, quote!(#derived::flags_val(&[#(#into),*])))
        }
        Shape::Variant(cases) => {
            let from = cases.iter().map(
                |Case {
                     ident,
                     name,
                     payload,
                 }| match payload {
                    Some(ty) => quote_spanned! {ty.span()=>
                        #name => #value::from_val(payload?).map(Self::#ident),
                    },
                    None => quote!(#name => #some(Self::#ident),),
                },
            );
            let into = cases.iter().map(
                |Case {
                     ident,
                     name,
                     payload,
                 }| match payload {
                    Some(ty) => quote_spanned! {ty.span()=> Self::#ident(payload) =>
                        #derived::variant_val(#name, #some(#value::into_val(payload))),
                    },
                    None => quote!(Self::#ident => #derived::variant_val(#name, #none),),
                },
            );
            let from = quote! {
                let (case, payload) = #derived::variant_case(val)?;
                match &*case { #(#from)* _ => #none }
            };
            (from, quote!(match self { #(#into)* }))
        }
        Shape::Enum(cases) => {
            let from = cases
                .iter()
                .map(|Case { ident, name, .. }| quote!(#name => #some(Self::#ident),));
            let into = cases
                .iter()
                .map(|Case { ident, name, .. }| quote!(Self::#ident => #derived::enum_val(#name),));
            let from = quote!(match &*#derived::enum_case(val)? { #(#from)* _ => #none });
            (from, quote!(match self { #(#into)* }))
        }
    };
    // A value of a variant is another `Val`.
    let also = match &input.shape {
        Shape::Enum(_) => quote!(#derived::is_enum(ty) &&),
        _ => quote!(),
    };
    let mut generics = input.generics.clone();
    for param in generics.type_params_mut() {
        param.bounds.push(parse_quote!(#krate::ComponentType));
        param.bounds.push(parse_quote!(#value));
    }
    let (params, args, bounds) = generics.split_for_impl();
    let ident = &input.ident;
    quote! {
        #[automatically_derived]
        #[allow(unused_variables, reason = "cases without payloads have none")]
        impl #params #value for #ident #args #bounds {
            fn accepts(ty: &#krate::Type) -> bool {
                #also <Self as #krate::ComponentType>::typecheck(ty).is_ok()
            }

            fn describe() -> ::std::string::String {
                <Self as #krate::ComponentType>::describe()
            }

            fn from_val(val: #krate::Val) -> ::core::option::Option<Self> {
                #from
            }

            fn into_val(self) -> #krate::Val {
                #into
            }
        }
    }
}

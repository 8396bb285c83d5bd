//! The derived implementations.

use crate::input::{Case, Field, Input, Shape};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse_quote;
use syn::spanned::Spanned;

pub(crate) fn component_type(input: &Input) -> TokenStream {
    let krate = quote!(::vestibule_component_host);
    let (check, kind) = match &input.shape {
        Shape::Record(fields) => {
            let fields = fields.iter().map(|Field { name, ty, .. }| {
                quote_spanned!(ty.span()=> (#name, <#ty as #krate::ComponentType>::typecheck))
            });
            (quote!(record(RUST, ty, &[#(#fields),*])), "record")
        }
        Shape::Flags(fields) => {
            let names = fields.iter().map(|field| &field.name);
            (quote!(flags(RUST, ty, &[#(#names),*])), "flags")
        }
        Shape::Variant(cases) => {
            let cases = cases.iter().map(|Case { name, payload, .. }| match payload {
                Some(ty) => quote_spanned! {ty.span()=>
                    (#name, ::core::option::Option::Some(<#ty as #krate::ComponentType>::typecheck))
                },
                None => quote!((#name, ::core::option::Option::None)),
            });
            (quote!(variant(RUST, ty, &[#(#cases),*])), "variant")
        }
        Shape::Enum(cases) => {
            let names = cases.iter().map(|case| &case.name);
            (quote!(enumeration(RUST, ty, &[#(#names),*])), "enum")
        }
    };
    let description = format!("{kind} `{}`", input.ident);
    implement(
        input,
        quote!(#krate::ComponentType),
        quote! {
            fn typecheck(
                ty: &#krate::Type,
            ) -> ::core::result::Result<(), #krate::Mismatch> {
                const RUST: &str = #description;
                #krate::typed::__derived::#check
            }

            fn describe() -> ::std::string::String {
                ::std::string::String::from(#description)
            }
        },
    )
}

pub(crate) fn lower(input: &Input) -> TokenStream {
    let krate = quote!(::vestibule_component_host);
    let derived = quote!(#krate::typed::__derived);
    let body = match &input.shape {
        Shape::Record(fields) => {
            let fields = fields
                .iter()
                .enumerate()
                .map(|(i, Field { ident, ty, .. })| {
                    quote_spanned! {ty.span()=>
                        #krate::Lower::lower(self.#ident, #derived::field(ty, #i)?, to)?;
                    }
                });
            quote!(#(#fields)* ::core::result::Result::Ok(()))
        }
        Shape::Flags(fields) => {
            let idents = fields.iter().map(|field| &field.ident);
            quote! {
                #derived::put_flags(to, &[#(self.#idents),*]);
                ::core::result::Result::Ok(())
            }
        }
        Shape::Variant(cases) | Shape::Enum(cases) => {
            let arms = cases
                .iter()
                .zip(0_u32..)
                .map(|(Case { ident, payload, .. }, i)| match payload {
                    Some(ty) => quote_spanned! {ty.span()=> Self::#ident(payload) => {
                        #derived::put_case(to, #i);
                        #krate::Lower::lower(payload, #derived::payload(ty, #i)?, to)
                    }},
                    None => quote! { Self::#ident => {
                        #derived::put_case(to, #i);
                        ::core::result::Result::Ok(())
                    }},
                });
            quote!(match self { #(#arms)* })
        }
    };
    implement(
        input,
        quote!(#krate::Lower),
        quote! {
            #[allow(unused_variables, reason = "cases without payloads have no types")]
            fn lower(self, ty: &#krate::Type, to: &mut #krate::typed::Transit) -> #krate::Result<()> {
                #body
            }
        },
    )
}

pub(crate) fn lift(input: &Input) -> TokenStream {
    let krate = quote!(::vestibule_component_host);
    let derived = quote!(#krate::typed::__derived);
    let body = match &input.shape {
        Shape::Record(fields) => {
            let fields = fields
                .iter()
                .enumerate()
                .map(|(i, Field { ident, ty, .. })| {
                    quote_spanned! {ty.span()=>
                        #ident: #krate::Lift::lift(#derived::field(ty, #i)?, from)?
                    }
                });
            quote!(::core::result::Result::Ok(Self { #(#fields),* }))
        }
        Shape::Flags(fields) => {
            let fields = fields.iter().zip(0_u32..);
            let fields = fields.map(|(Field { ident, .. }, i)| quote!(#ident: bits >> #i & 1 == 1));
            quote! {
                let bits = #derived::take_flags(from)?;
                ::core::result::Result::Ok(Self { #(#fields),* })
            }
        }
        Shape::Variant(cases) | Shape::Enum(cases) => {
            let arms = cases
                .iter()
                .zip(0_u32..)
                .map(|(Case { ident, payload, .. }, i)| match payload {
                    Some(payload) => quote_spanned! {payload.span()=>
                        #i => #krate::Lift::lift(#derived::payload(ty, #i)?, from)
                            .map(Self::#ident),
                    },
                    None => quote!(#i => ::core::result::Result::Ok(Self::#ident),),
                });
            quote! {
                match #derived::take_case(from)? {
                    #(#arms)*
                    case => ::core::result::Result::Err(#derived::no_such_case(ty, case)),
                }
            }
        }
    };
    implement(
        input,
        quote!(#krate::Lift),
        quote! {
            #[allow(unused_variables, reason = "cases without payloads have no types")]
            fn lift(ty: &#krate::Type, from: &mut #krate::typed::Arrivals) -> #krate::Result<Self> {
                #body
            }
        },
    )
}

/// Implements a trait, which type parameters then have to implement too.
fn implement(input: &Input, name: TokenStream, items: TokenStream) -> TokenStream {
    let mut generics = input.generics.clone();
    for param in generics.type_params_mut() {
        param.bounds.push(parse_quote!(#name));
    }
    let (params, args, bounds) = generics.split_for_impl();
    let ident = &input.ident;
    quote! {
        #[automatically_derived]
        impl #params #name for #ident #args #bounds {
            #items
        }
    }
}

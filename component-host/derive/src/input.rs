//! What a struct or an enum says of itself, in the words of the component model.

use proc_macro2::Span;
use syn::{
    Attribute, Data, DataEnum, DataStruct, DeriveInput, Error, Fields, Generics, Ident, LitStr,
    Result, Type,
};

pub(crate) struct Input {
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    pub(crate) shape: Shape,
}

pub(crate) enum Shape {
    Record(Vec<Field>),
    Flags(Vec<Field>),
    Variant(Vec<Case>),
    Enum(Vec<Case>),
}

pub(crate) struct Field {
    pub(crate) ident: Ident,
    pub(crate) name: String,
    pub(crate) ty: Type,
}

pub(crate) struct Case {
    pub(crate) ident: Ident,
    pub(crate) name: String,
    pub(crate) payload: Option<Type>,
}

/// What `#[component(..)]` says of a type, a field, or a case.
#[derive(Default)]
struct Attributes {
    kind: Option<(Kind, Span)>,
    name: Option<LitStr>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Record,
    Flags,
    Variant,
    Enum,
}

impl Input {
    pub(crate) fn new(item: DeriveInput) -> Result<Input> {
        let attributes = Attributes::parse(&item.attrs)?;
        if let Some(name) = attributes.name {
            return Err(Error::new_spanned(
                name,
                "a type has no name at the boundary; `name` is for its fields and cases",
            ));
        }
        let shape = match item.data {
            Data::Struct(data) => of_struct(data, attributes.kind, &item.ident)?,
            Data::Enum(data) => of_enum(data, attributes.kind, &item.ident)?,
            Data::Union(_) => {
                return Err(Error::new_spanned(
                    item.ident,
                    "a union has no counterpart in the component model; use an enum",
                ));
            }
        };
        Ok(Input {
            ident: item.ident,
            generics: item.generics,
            shape,
        })
    }
}

fn of_struct(data: DataStruct, kind: Option<(Kind, Span)>, ident: &Ident) -> Result<Shape> {
    let Fields::Named(fields) = data.fields else {
        return Err(Error::new_spanned(
            ident,
            "the fields of a record have names; use a tuple, or a struct with named fields",
        ));
    };
    let fields = fields.named.into_iter().filter_map(|field| {
        let ident = field.ident?;
        let name = Attributes::parse(&field.attrs).and_then(|attributes| attributes.name(&ident));
        Some(name.map(|name| Field {
            name,
            ident,
            ty: field.ty,
        }))
    });
    let fields: Vec<Field> = fields.collect::<Result<_>>()?;
    if fields.is_empty() {
        return Err(Error::new_spanned(
            ident,
            "no component-level type is empty",
        ));
    }
    check_names(fields.iter().map(|field| (&field.name, &field.ident)))?;
    match kind {
        None | Some((Kind::Record, _)) => Ok(Shape::Record(fields)),
        Some((Kind::Flags, span)) if fields.len() > 32 => {
            Err(Error::new(span, "at most 32 flags are one type"))
        }
        Some((Kind::Flags, _)) => Ok(Shape::Flags(fields)),
        Some((_, span)) => Err(Error::new(span, "a struct is a `record` or `flags`")),
    }
}

fn of_enum(data: DataEnum, kind: Option<(Kind, Span)>, ident: &Ident) -> Result<Shape> {
    let mut cases = Vec::new();
    for variant in data.variants {
        let name = Attributes::parse(&variant.attrs)?.name(&variant.ident)?;
        let payload = match variant.fields {
            Fields::Unit => None,
            Fields::Unnamed(mut fields) if fields.unnamed.len() == 1 => {
                fields.unnamed.pop().map(|field| field.into_value().ty)
            }
            Fields::Unnamed(_) | Fields::Named(_) => {
                return Err(Error::new_spanned(
                    variant.ident,
                    "a case has one payload at most; use a tuple or a struct of its own",
                ));
            }
        };
        cases.push(Case {
            ident: variant.ident,
            name,
            payload,
        });
    }
    if cases.is_empty() {
        return Err(Error::new_spanned(
            ident,
            "no component-level type is empty",
        ));
    }
    check_names(cases.iter().map(|case| (&case.name, &case.ident)))?;
    let units = cases.iter().all(|case| case.payload.is_none());
    match kind {
        None if units => Ok(Shape::Enum(cases)),
        None | Some((Kind::Variant, _)) => Ok(Shape::Variant(cases)),
        Some((Kind::Enum, _)) if units => Ok(Shape::Enum(cases)),
        Some((Kind::Enum, span)) => Err(Error::new(
            span,
            "the cases of an `enum` have no payloads; this is a `variant`",
        )),
        Some((_, span)) => Err(Error::new(span, "an enum is a `variant` or an `enum`")),
    }
}

fn check_names<'a>(names: impl Iterator<Item = (&'a String, &'a Ident)>) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for (name, ident) in names {
        if !seen.insert(name) {
            return Err(Error::new_spanned(
                ident,
                format!("`{name}` is there twice"),
            ));
        }
    }
    Ok(())
}

impl Attributes {
    fn parse(attrs: &[Attribute]) -> Result<Attributes> {
        let mut found = Attributes::default();
        for attr in attrs
            .iter()
            .filter(|attr| attr.path().is_ident("component"))
        {
            attr.parse_nested_meta(|meta| {
                let kind = match &meta.path {
                    path if path.is_ident("name") => {
                        found.name = Some(meta.value()?.parse()?);
                        return Ok(());
                    }
                    path if path.is_ident("record") => Kind::Record,
                    path if path.is_ident("flags") => Kind::Flags,
                    path if path.is_ident("variant") => Kind::Variant,
                    // `enum` is a keyword, which is a path here all the same.
                    path if path.is_ident("enum") => Kind::Enum,
                    _ => {
                        return Err(meta.error(
                            "expected `record`, `flags`, `variant`, `enum`, or `name = \"...\"`",
                        ));
                    }
                };
                found.kind = Some((kind, Span::call_site()));
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// The name of a field or a case.
    fn name(self, ident: &Ident) -> Result<String> {
        if let Some((_, span)) = self.kind {
            return Err(Error::new(
                span,
                "the kind is said of the type, not of its parts",
            ));
        }
        Ok(match self.name {
            Some(name) => name.value(),
            None => kebab_case(&ident.to_string()),
        })
    }
}

/// `not_found`, `notFound` and `NotFound` are `not-found`.
fn kebab_case(ident: &str) -> String {
    let ident = ident.trim_start_matches("r#");
    let chars: Vec<char> = ident.chars().collect();
    let mut name = String::new();
    for (i, c) in chars.iter().enumerate() {
        if *c == '_' {
            if !name.is_empty() && i + 1 < chars.len() {
                name.push('-');
            }
            continue;
        }
        let before = i.checked_sub(1).and_then(|i| chars.get(i));
        let begins_word = c.is_uppercase()
            && before.is_some_and(|before| {
                let after = chars.get(i + 1).is_some_and(|after| after.is_lowercase());
                *before != '_' && (!before.is_uppercase() || after)
            });
        if begins_word {
            name.push('-');
        }
        name.extend(c.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::kebab_case;

    #[test]
    fn names_are_turned_into_kebab_case() {
        for (ident, name) in [
            ("x", "x"),
            ("not_found", "not-found"),
            ("NotFound", "not-found"),
            ("HTTPError", "http-error"),
            ("r#type", "type"),
            ("_hidden", "hidden"),
            ("a1B2", "a1-b2"),
        ] {
            assert_eq!(kebab_case(ident), name, "{ident}");
        }
    }
}

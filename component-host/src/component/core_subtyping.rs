//! Subtyping of core imports and exports: the matching rules of core WebAssembly.

use super::definitions::{CoreExternType, CoreFuncTypeDef};
use std::fmt::Display;
use wasmparser::{GlobalType, MemoryType, TableType, ValType};

impl CoreExternType {
    /// Checks that what has this type may be used where `wanted` is asked for.
    ///
    /// # Errors
    ///
    /// Says what differs.
    pub(crate) fn check_subtype(&self, wanted: &CoreExternType) -> Result<(), String> {
        match (self, wanted) {
            (CoreExternType::Func(has), CoreExternType::Func(wants))
            | (CoreExternType::Tag(has), CoreExternType::Tag(wants)) => {
                equal("function of type", &signature(has), &signature(wants))
            }
            (CoreExternType::Global(has), CoreExternType::Global(wants)) => global(has, wants),
            (CoreExternType::Table(has), CoreExternType::Table(wants)) => table(has, wants),
            (CoreExternType::Memory(has), CoreExternType::Memory(wants)) => memory(has, wants),
            _ => Err(format!("expected {}, found {}", wanted.kind(), self.kind())),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            CoreExternType::Func(_) => "a function",
            CoreExternType::Table(_) => "a table",
            CoreExternType::Memory(_) => "a memory",
            CoreExternType::Global(_) => "a global",
            CoreExternType::Tag(_) => "a tag",
        }
    }
}

/// As in `(i32, i64) -> (i32)`.
fn signature(ty: &CoreFuncTypeDef) -> String {
    let list = |types: &[ValType]| {
        let types: Vec<String> = types.iter().map(ValType::to_string).collect();
        format!("({})", types.join(", "))
    };
    format!("{} -> {}", list(&ty.params), list(&ty.results))
}

fn equal<T: PartialEq + Display>(what: &str, has: &T, wants: &T) -> Result<(), String> {
    match has == wants {
        true => Ok(()),
        false => Err(format!("expected a {what} {wants}, found {has}")),
    }
}

/// The engine has neither typed function references nor garbage collection: a constant of another
/// type is never a subtype.
fn global(has: &GlobalType, wants: &GlobalType) -> Result<(), String> {
    equal("global of type", &has.content_type, &wants.content_type)?;
    equal("global whose mutable flag is", &has.mutable, &wants.mutable)?;
    equal("global whose shared flag is", &has.shared, &wants.shared)
}

fn table(has: &TableType, wants: &TableType) -> Result<(), String> {
    equal("table of", &has.element_type, &wants.element_type)?;
    equal("table whose 64-bit flag is", &has.table64, &wants.table64)?;
    equal("table whose shared flag is", &has.shared, &wants.shared)?;
    limits(
        (has.initial, has.maximum),
        (wants.initial, wants.maximum),
        "elements",
    )
}

fn memory(has: &MemoryType, wants: &MemoryType) -> Result<(), String> {
    equal(
        "memory whose 64-bit flag is",
        &has.memory64,
        &wants.memory64,
    )?;
    equal("memory whose shared flag is", &has.shared, &wants.shared)?;
    equal(
        "memory whose page size is 2 to the power of",
        &has.page_size_log2.unwrap_or(16),
        &wants.page_size_log2.unwrap_or(16),
    )?;
    limits(
        (has.initial, has.maximum),
        (wants.initial, wants.maximum),
        "pages",
    )
}

/// At least the wanted minimum, at most the wanted maximum.
fn limits(has: (u64, Option<u64>), wants: (u64, Option<u64>), unit: &str) -> Result<(), String> {
    if has.0 < wants.0 {
        return Err(format!(
            "expected at least {} {unit}, found {}",
            wants.0, has.0
        ));
    }
    match (has.1, wants.1) {
        (_, None) => Ok(()),
        (Some(has), Some(wants)) if has <= wants => Ok(()),
        (Some(has), Some(wants)) => Err(format!(
            "expected at most {wants} {unit}, found a maximum of {has}"
        )),
        (None, Some(wants)) => Err(format!("expected at most {wants} {unit}, found no maximum")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn memory_of(initial: u64, maximum: Option<u64>) -> CoreExternType {
        CoreExternType::Memory(MemoryType {
            memory64: false,
            shared: false,
            initial,
            maximum,
            page_size_log2: None,
        })
    }

    fn func_of(params: &[ValType]) -> CoreExternType {
        CoreExternType::Func(Arc::new(CoreFuncTypeDef {
            params: params.into(),
            results: Box::default(),
        }))
    }

    #[test]
    fn a_memory_fits_when_its_limits_are_within_the_wanted_ones() {
        for (has, wants, fits) in [
            ((1, None), (1, None), true),
            ((2, None), (1, None), true),
            ((1, None), (2, None), false),
            ((1, Some(2)), (1, None), true),
            ((1, Some(2)), (1, Some(2)), true),
            ((1, Some(2)), (1, Some(3)), true),
            ((1, Some(3)), (1, Some(2)), false),
            ((1, None), (1, Some(2)), false),
        ] {
            let (has, wants) = (memory_of(has.0, has.1), memory_of(wants.0, wants.1));
            assert_eq!(has.check_subtype(&wants).is_ok(), fits, "{has:?} {wants:?}");
        }
    }

    #[test]
    fn functions_fit_when_they_are_equal_and_nothing_fits_another_kind() {
        let (one, two) = (func_of(&[ValType::I32]), func_of(&[ValType::I64]));
        assert_eq!(one.check_subtype(&one), Ok(()));
        assert!(one.check_subtype(&two).is_err());
        assert_eq!(
            one.check_subtype(&memory_of(1, None)).unwrap_err(),
            "expected a memory, found a function"
        );
    }
}

//! Spec: ## Type Predicates

use crate::types::Type;

#[cfg_attr(not(test), expect(dead_code, reason = "the validator asks it for us"))]
pub(crate) fn contains_borrow(t: &Type) -> bool {
    t.contents().borrow
}

#[cfg_attr(not(test), expect(dead_code, reason = "the validator asks it for us"))]
pub(crate) fn contains_async_value(t: &Type) -> bool {
    t.contents().async_value
}

pub(crate) fn none_or_number_type(t: Option<&Type>) -> bool {
    match t {
        None => true,
        Some(t) => matches!(
            t,
            Type::U8
                | Type::U16
                | Type::U32
                | Type::U64
                | Type::S8
                | Type::S16
                | Type::S32
                | Type::S64
                | Type::Float32
                | Type::Float64
        ),
    }
}

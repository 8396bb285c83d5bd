//! An arbitrary type, and arbitrary bytes as a guest's memory and core values: they are lifted or
//! trap, and what was lifted comes back as it was when it is lowered and lifted again.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vestibule_component_host::fuzzing::lift_lower(bytes));

//! Says which imports a start function may call.

use crate::linker::Linker;
use std::collections::BTreeMap;

/// What was declared, by the names of imports.
#[derive(Debug, Default, Clone)]
pub(crate) struct StartSafety {
    declared: BTreeMap<String, bool>,
    /// Whether what was not declared is forbidden.
    strict: bool,
}

impl StartSafety {
    /// Whether a start function may call the import `name`, of the instance `instance`.
    pub(crate) fn allows(&self, instance: &str, name: &str) -> bool {
        let declared = self.declared.get(name);
        let declared = declared.or_else(|| self.declared.get(instance));
        declared.copied().unwrap_or(!self.strict)
    }
}

impl<T: 'static> Linker<T> {
    /// Declares that an import may (`true`) or may not be called from a start function, directly or
    /// through other components. A call that may not be made is refused by name, before the host
    /// function runs, and fails the instantiation.
    ///
    /// `name` is that of an import, `interface#name` for one of an interface, or that of a whole
    /// interface; what is declared of the import itself counts more. Host functions that block the
    /// thread, or that need what is not ready before the host has gone on, are not start-safe. It
    /// concerns what is instantiated afterwards.
    pub fn start_safe(&mut self, name: &str, safe: bool) -> &mut Linker<T> {
        self.start_safety.declared.insert(name.to_owned(), safe);
        self
    }

    /// Forbids start functions every import that was not declared
    /// [start-safe](Linker::start_safe).
    pub fn only_start_safe(&mut self) -> &mut Linker<T> {
        self.start_safety.strict = true;
        self
    }
}

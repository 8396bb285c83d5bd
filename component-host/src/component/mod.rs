//! Components: decoded, validated, compiled, and ready to be instantiated any number of times.

mod core_subtyping;
pub(crate) mod decode;
mod decode_canon;
mod decode_module;
mod decode_types;
#[allow(
    dead_code,
    reason = "the decoded form says all that the binary says, also what nothing asks for yet"
)]
pub(crate) mod definitions;
pub(crate) mod module_info;
pub(crate) mod names;

use crate::engine::{CoreModule, Engine};
use crate::error::{Error, Result};
use decode::{DecodeLimits, Decoded};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A compiled component; `Send` and `Sync`, and cheap to clone.
#[derive(Clone)]
pub struct Component {
    pub(crate) decoded: Arc<Decoded>,
    pub(crate) engine: Engine,
}

impl Component {
    /// Validates, decodes and compiles a component, given as binary or as text.
    ///
    /// What comes of it has no serialised form: most of this is validation, which a file that is
    /// not trusted would need again (`docs/PERFORMANCE.md` has the figures). Keep the component: its
    /// clones are cheap.
    ///
    /// # Errors
    ///
    /// `Invalid`, with the offset in bytes for a binary, or with line and column for text;
    /// `Limit` when it is larger than
    /// [`Config::max_component_size`](crate::Config::max_component_size) allows.
    pub fn new(engine: &Engine, bytes: &[u8]) -> Result<Component> {
        let size = engine.config().max_component_size;
        let limits = DecodeLimits {
            component_size: size,
            core_module_size: size,
        };
        let binary = Component::binary(bytes)?;
        let decoded = decode::decode(&binary, &limits, &mut |raw| {
            CoreModule::new(engine, raw.bytes, raw.info).map(Arc::new)
        })?;
        Ok(Component {
            decoded: Arc::new(decoded),
            engine: engine.clone(),
        })
    }

    /// The binary form of what may be text.
    pub(crate) fn binary(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
        match is_text(bytes) {
            true => wat::parse_bytes(bytes).map_err(|error| invalid_text(&error.to_string())),
            false => Ok(bytes.into()),
        }
    }

    /// The names of its imports, in the order of the binary.
    pub fn import_names(&self) -> impl Iterator<Item = &str> {
        self.decoded.imports.iter().map(|import| &*import.name)
    }

    /// The names of its exports, in the order of the binary.
    pub fn export_names(&self) -> impl Iterator<Item = &str> {
        self.decoded.exports.iter().map(|export| &*export.name)
    }
}

/// Binaries begin with a NUL byte, which no text does.
fn is_text(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| *first != 0) && std::str::from_utf8(bytes).is_ok()
}

/// The parser has a text of its own for a second attribute of a kind, and uses it nowhere else; in
/// the grammar it is a token too many, and that is what the official suite calls it.
fn invalid_text(message: &str) -> Error {
    let line = message.lines().next().unwrap_or_default();
    let kind = line.strip_prefix("duplicate `");
    let kind = kind.and_then(|kind| kind.strip_suffix("` attribute"));
    let second_attribute = kind.is_some_and(|kind| !kind.contains('`'));
    match second_attribute {
        true => Error::invalid(format!("unexpected token: {message}"), None),
        false => Error::invalid(message, None),
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("name", &self.decoded.root.name)
            .finish_non_exhaustive()
    }
}

//! Values on their way across a boundary: lifted from one side, not yet lowered to the other.
//!
//! They are a sequence, not a tree: the parts that are numbers one after another as words, in the
//! order of the types, and beside them what does not fit in a word. So a list of ten thousand
//! records is one allocation, a string or a list of numbers is one that can be passed on as it
//! is, and whoever reads follows the types. [`Val`]s and Rust types ([`crate::Lower`],
//! [`crate::Lift`]) are written into such a sequence and read from it.
//!
//! | type | words | beside them |
//! |---|---|---|
//! | numbers, `bool`, `char`, flags | its bits, zero-extended from its own width | |
//! | `string` | | the text |
//! | a list of numbers | | the bytes, as they are in a guest's memory |
//! | any other list, a map | the number of elements, then each element | |
//! | records, tuples, `list<T, N>` | each part | |
//! | variants, enums, options, results | the case, then its payload | |
//! | resources, streams, futures, error contexts | | the [`Val`] |

use crate::error::{Error, bug};
use crate::types::Type;
use crate::val::{Text, Val};
use smallvec::SmallVec;
use std::fmt;

/// Values on their way across a boundary.
#[derive(Default)]
pub struct Transit {
    words: Words,
    bulk: SmallVec<[Bulk; 1]>,
    handles: Vec<Passing>,
}

/// A few need no memory of their own: most calls pass no more.
type Words = SmallVec<[u64; 6]>;

/// What does not fit in a word.
#[derive(Debug)]
enum Bulk {
    Text(Text),
    /// The elements of a list of numbers.
    Bytes(Vec<u8>),
}

/// A handle on its way, and the type it was sent as.
#[derive(Debug)]
struct Passing {
    val: Val,
    ty: Type,
}

impl Transit {
    pub(crate) fn new() -> Transit {
        Transit::default()
    }

    /// Adds a number, a case, or a number of elements.
    pub(crate) fn word(&mut self, bits: u64) {
        self.words.push(bits);
    }

    pub(crate) fn text(&mut self, text: Text) {
        self.bulk.push(Bulk::Text(text));
    }

    /// Adds a list of numbers, by their bytes.
    pub(crate) fn bytes(&mut self, bytes: Vec<u8>) {
        self.bulk.push(Bulk::Bytes(bytes));
    }

    /// Adds a handle of the given type.
    pub(crate) fn handle(&mut self, val: Val, ty: &Type) {
        let ty = ty.clone();
        self.handles.push(Passing { val, ty });
    }

    pub(crate) fn reserve(&mut self, words: usize) {
        self.words.reserve(words);
    }

    pub(crate) fn has_handles(&self) -> bool {
        !self.handles.is_empty()
    }

    /// The handles, and the types they were sent as.
    pub(crate) fn handles(&mut self) -> impl Iterator<Item = (&mut Val, &Type)> {
        let handles = self.handles.iter_mut();
        handles.map(|passing| (&mut passing.val, &passing.ty))
    }

    /// All that is left of values that nobody wants. What was only lent is not among it.
    pub(crate) fn into_handles(self) -> Vec<Val> {
        let handles = self.handles.into_iter();
        let owned = handles.filter(|passing| !matches!(passing.ty, Type::Borrow(_)));
        owned.map(|passing| passing.val).collect()
    }

    /// Reads the values, in the order in which they were added.
    pub(crate) fn read(self) -> Arrivals {
        Arrivals {
            words: self.words.into_iter(),
            bulk: self.bulk.into_iter(),
            handles: self.handles.into_iter(),
        }
    }
}

impl fmt::Debug for Transit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transit").finish_non_exhaustive()
    }
}

/// Values that arrive, to be read in the order in which they were sent.
pub struct Arrivals {
    words: smallvec::IntoIter<[u64; 6]>,
    bulk: smallvec::IntoIter<[Bulk; 1]>,
    handles: std::vec::IntoIter<Passing>,
}

impl Arrivals {
    pub(crate) fn word(&mut self) -> Result<u64, Error> {
        self.words
            .next()
            .ok_or_else(|| bug!("a word is missing among the values"))
    }

    /// The case of a variant, of which there are so many.
    pub(crate) fn case(&mut self) -> Result<u32, Error> {
        self.word().map(|word| word as u32)
    }

    pub(crate) fn text(&mut self) -> Result<Text, Error> {
        match self.bulk.next() {
            Some(Bulk::Text(text)) => Ok(text),
            other => Err(bug!("a string was due among the values, not {other:?}")),
        }
    }

    /// The bytes of a list of numbers.
    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        match self.bulk.next() {
            Some(Bulk::Bytes(bytes)) => Ok(bytes),
            other => Err(bug!("numbers were due among the values, not {other:?}")),
        }
    }

    pub(crate) fn handle(&mut self) -> Result<Val, Error> {
        match self.handles.next() {
            Some(passing) => Ok(passing.val),
            None => Err(bug!("a handle is missing among the values")),
        }
    }

    /// Whether all were read.
    pub(crate) fn done(&self) -> bool {
        self.words.len() == 0 && self.bulk.len() == 0 && self.handles.len() == 0
    }
}

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrivals").finish_non_exhaustive()
    }
}

/// The size of a number in memory, in bytes; none for what is no number. Lists of these are kept
/// as bytes.
pub(crate) fn number_size(t: &Type) -> Option<usize> {
    Some(match t {
        Type::U8 | Type::S8 => 1,
        Type::U16 | Type::S16 => 2,
        Type::U32 | Type::S32 | Type::Float32 => 4,
        Type::U64 | Type::S64 | Type::Float64 => 8,
        _ => return None,
    })
}

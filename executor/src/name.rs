//! What a task is called: put together by nobody before it is asked for.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The name of a task, for [`TaskBuilder::name`](crate::TaskBuilder::name).
///
/// Made from a text that is there anyway, it costs no allocation: a literal, or an `Arc<str>` that
/// many tasks share.
#[derive(Clone)]
pub struct TaskName(Text);

#[derive(Clone)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl TaskName {
    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Static(name) => name,
            Text::Shared(name) => name,
        }
    }

    /// As refusals, snapshots and the like have it.
    pub(crate) fn to_cow(&self) -> Cow<'static, str> {
        match &self.0 {
            Text::Static(name) => Cow::Borrowed(name),
            Text::Shared(name) => Cow::Owned(String::from(&**name)),
        }
    }
}

impl From<&'static str> for TaskName {
    fn from(name: &'static str) -> Self {
        Self(Text::Static(name))
    }
}

impl From<Arc<str>> for TaskName {
    fn from(name: Arc<str>) -> Self {
        Self(Text::Shared(name))
    }
}

impl From<String> for TaskName {
    fn from(name: String) -> Self {
        Self(Text::Shared(name.into()))
    }
}

impl From<Cow<'static, str>> for TaskName {
    fn from(name: Cow<'static, str>) -> Self {
        match name {
            Cow::Borrowed(name) => name.into(),
            Cow::Owned(name) => name.into(),
        }
    }
}

impl fmt::Debug for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! Finds names of interfaces whose versions are compatible: `a:b/c@1.2.3` is served by
//! `a:b/c@1.2.5`.

use semver::Version;
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;

/// The entry of this name; else that of the highest version which is compatible with it by the
/// rules of semantic versioning. A pre-release is compatible with itself alone.
pub(crate) fn find<'m, K, V>(names: &'m BTreeMap<K, V>, name: &str) -> Option<&'m V>
where
    K: Borrow<str> + Ord,
{
    if let Some(found) = names.get(name) {
        return Some(found);
    }
    let (interface, wanted) = split(name)?;
    let prefix = format!("{interface}@");
    let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
    let candidates = names
        .range::<str, _>(from)
        .take_while(|(name, _)| (*name).borrow().starts_with(&prefix));
    let compatible = candidates.filter_map(|(name, value)| {
        let (_, version) = split((*name).borrow())?;
        are_compatible(&wanted, &version).then_some((version, value))
    });
    let highest = compatible.max_by(|(a, _), (b, _)| a.cmp(b));
    highest.map(|(_, value)| value)
}

fn split(name: &str) -> Option<(&str, Version)> {
    let (interface, version) = name.split_once('@')?;
    Some((interface, Version::parse(version).ok()?))
}

/// They agree up to the first number that is not 0.
fn are_compatible(a: &Version, b: &Version) -> bool {
    if !a.pre.is_empty() || !b.pre.is_empty() {
        return false;
    }
    match (a.major, a.minor) {
        (0, 0) => (b.major, b.minor, b.patch) == (0, 0, a.patch),
        (0, minor) => (b.major, b.minor) == (0, minor),
        (major, _) => b.major == major,
    }
}

#[cfg(test)]
mod tests {
    use super::find;
    use std::collections::BTreeMap;

    #[test]
    fn a_name_is_served_by_the_highest_compatible_version() {
        let offered = [
            "a:b/c@1.2.5",
            "a:b/c@1.10.0",
            "a:b/c@2.0.0",
            "a:b/c@3.0.0-rc.1",
            "a:b/c@0.2.1",
            "a:b/c@0.0.3",
            "a:b/c-more@1.0.0",
            "a:b/c",
        ];
        let offered: BTreeMap<&str, &str> = offered.map(|name| (name, name)).into();
        for (wanted, found) in [
            ("a:b/c@1.2.5", Some("a:b/c@1.2.5")),
            ("a:b/c@1.2.3", Some("a:b/c@1.10.0")),
            ("a:b/c@1.99.0", Some("a:b/c@1.10.0")),
            ("a:b/c@2.1.0", Some("a:b/c@2.0.0")),
            ("a:b/c@3.0.0", None),
            ("a:b/c@3.0.0-rc.1", Some("a:b/c@3.0.0-rc.1")),
            ("a:b/c@3.0.0-rc.2", None),
            ("a:b/c@0.2.0", Some("a:b/c@0.2.1")),
            ("a:b/c@0.3.0", None),
            ("a:b/c@0.0.3", Some("a:b/c@0.0.3")),
            ("a:b/c@0.0.4", None),
            ("a:b/c@4.0.0", None),
            ("a:b/c", Some("a:b/c")),
            ("a:b/d@1.0.0", None),
            ("a:b/c@not-a-version", None),
        ] {
            assert_eq!(find(&offered, wanted).copied(), found, "{wanted}");
        }
    }
}

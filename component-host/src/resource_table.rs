//! A table of host values that guests hold as resources.

use crate::error::{Error, Result};
use crate::resource::Resource;
use std::any::{Any, type_name};
use std::collections::BTreeSet;
use std::fmt;

/// Keeps the values of [`Resource`]s that the embedder gives to guests, of any types.
///
/// A representation of a value that was deleted is refused, also when its place is in use again
/// for another one: it carries the place's generation, of which there are 4,096 before they begin
/// anew. A value may have children, such as the streams of a connection; it cannot be deleted
/// before them.
pub struct ResourceTable {
    entries: Vec<Slot>,
    free: Vec<u32>,
    capacity: usize,
}

struct Slot {
    generation: u32,
    entry: Option<Entry>,
}

struct Entry {
    value: Box<dyn Any>,
    type_name: &'static str,
    parent: Option<u32>,
    children: BTreeSet<u32>,
}

/// The bits of a representation that are the place in the table.
const PLACE_BITS: u32 = 20;
const MAX_PLACES: usize = 1 << PLACE_BITS;

impl ResourceTable {
    /// Makes a table for at most 1,048,576 values.
    pub fn new() -> ResourceTable {
        ResourceTable::with_capacity_limit(MAX_PLACES)
    }

    /// Makes a table for at most so many values: guests make resources as long as they are given
    /// some.
    pub fn with_capacity_limit(values: usize) -> ResourceTable {
        ResourceTable {
            entries: Vec::new(),
            free: Vec::new(),
            capacity: values.min(MAX_PLACES),
        }
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a value; the resource is owned.
    ///
    /// # Errors
    ///
    /// `Limit` when the table is full.
    pub fn push<T: 'static>(&mut self, value: T) -> Result<Resource<T>> {
        self.insert(value, None)
    }

    /// Adds a value whose parent cannot be deleted before it.
    ///
    /// # Errors
    ///
    /// `Resource` when there is no such parent, `Limit` when the table is full.
    pub fn push_child<T: 'static, P: 'static>(
        &mut self,
        value: T,
        parent: &Resource<P>,
    ) -> Result<Resource<T>> {
        self.get(parent)?;
        let child = self.insert(value, Some(parent.rep()))?;
        if let Some(entry) = self.slot_mut(parent.rep()) {
            entry.children.insert(child.rep());
        }
        Ok(child)
    }

    /// The value of a resource.
    ///
    /// # Errors
    ///
    /// `Resource` when it was deleted, or is of another type.
    pub fn get<T: 'static>(&self, resource: &Resource<T>) -> Result<&T> {
        let entry = self.slot(resource.rep());
        let value = entry.and_then(|entry| entry.value.downcast_ref());
        value.ok_or_else(|| missing(resource, entry))
    }

    /// The value of a resource.
    ///
    /// # Errors
    ///
    /// `Resource` when it was deleted, or is of another type.
    pub fn get_mut<T: 'static>(&mut self, resource: &Resource<T>) -> Result<&mut T> {
        self.get(resource)?;
        let value = self.slot_mut(resource.rep());
        let value = value.and_then(|entry| entry.value.downcast_mut());
        value.ok_or_else(|| missing(resource, None))
    }

    /// Takes the value of an owned resource out; how a destructor ends one.
    ///
    /// # Errors
    ///
    /// `Resource` when it was deleted, is of another type, is only borrowed, or has children.
    pub fn delete<T: 'static>(&mut self, resource: Resource<T>) -> Result<T> {
        self.get(&resource)?;
        if !resource.owned() {
            return Err(Error::resource(format!(
                "{resource:?} cannot be deleted: it is only borrowed"
            )));
        }
        let rep = resource.rep();
        let place = place(rep);
        let Some(slot) = self.entries.get_mut(place) else {
            return Err(missing(&resource, None));
        };
        if let Some(children) = slot.entry.as_ref().map(|entry| entry.children.len())
            && children > 0
        {
            return Err(Error::resource(format!(
                "{resource:?} cannot be deleted: it has {children} children, which go first"
            )));
        }
        let Some(entry) = slot.entry.take() else {
            return Err(missing(&resource, None));
        };
        slot.generation = slot.generation.wrapping_add(1) & (u32::MAX >> PLACE_BITS);
        self.free.push(place as u32);
        if let Some(parent) = entry.parent.and_then(|parent| self.slot_mut(parent)) {
            parent.children.remove(&rep);
        }
        match entry.value.downcast() {
            Ok(value) => Ok(*value),
            Err(_) => Err(missing(&resource, None)),
        }
    }

    fn insert<T: 'static>(&mut self, value: T, parent: Option<u32>) -> Result<Resource<T>> {
        if self.len() >= self.capacity {
            return Err(Error::limit(
                "ResourceTable::with_capacity_limit",
                self.capacity as u64,
                "resources in one table",
                "delete those that are no longer needed, or make the table larger",
            ));
        }
        let entry = Entry {
            value: Box::new(value),
            type_name: type_name::<T>(),
            parent,
            children: BTreeSet::new(),
        };
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                let slot = Slot {
                    generation: 0,
                    entry: None,
                };
                self.entries.push(slot);
                self.entries.len() as u32 - 1
            }
        };
        let slot = &mut self.entries[place as usize];
        slot.entry = Some(entry);
        Ok(Resource::new_own(slot.generation << PLACE_BITS | place))
    }

    fn slot(&self, rep: u32) -> Option<&Entry> {
        let slot = self.entries.get(place(rep))?;
        slot.entry
            .as_ref()
            .filter(|_| slot.generation == rep >> PLACE_BITS)
    }

    fn slot_mut(&mut self, rep: u32) -> Option<&mut Entry> {
        let slot = self.entries.get_mut(place(rep))?;
        let generation = slot.generation;
        slot.entry
            .as_mut()
            .filter(|_| generation == rep >> PLACE_BITS)
    }
}

fn place(rep: u32) -> usize {
    rep as usize & (MAX_PLACES - 1)
}

fn missing<T: 'static>(resource: &Resource<T>, entry: Option<&Entry>) -> Error {
    Error::resource(match entry {
        Some(entry) => format!(
            "{resource:?} is not in the table: there is a {} under its number",
            entry.type_name
        ),
        None => format!("{resource:?} is not in the table, or no longer"),
    })
}

impl Default for ResourceTable {
    fn default() -> ResourceTable {
        ResourceTable::new()
    }
}

impl fmt::Debug for ResourceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceTable")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Resource, ResourceTable};

    #[test]
    fn a_value_is_found_until_it_is_deleted() {
        let mut table = ResourceTable::new();
        let a = table.push("a").unwrap();
        let b = table.push(7_u32).unwrap();
        assert_eq!(table.get(&a).unwrap(), &"a");
        *table.get_mut(&b).unwrap() += 1;
        let gone = Resource::<u32>::new_own(b.rep());
        assert_eq!(table.delete(b).unwrap(), 8);
        assert_eq!(table.len(), 1);
        let error = table.get(&gone).unwrap_err().to_string();
        assert!(error.contains("not in the table"), "{error}");
    }

    #[test]
    fn a_number_that_is_used_again_does_not_lead_to_the_new_value() {
        let mut table = ResourceTable::new();
        let old = table.push(1_u32).unwrap();
        let stale = Resource::<u32>::new_borrow(old.rep());
        table.delete(old).unwrap();
        let new = table.push(2_u32).unwrap();
        assert_ne!(new.rep(), stale.rep());
        assert!(table.get(&stale).is_err());
    }

    #[test]
    fn a_resource_of_another_type_is_refused_by_name() {
        let mut table = ResourceTable::new();
        let text = table.push(String::new()).unwrap();
        let error = table
            .get(&Resource::<u32>::new_own(text.rep()))
            .unwrap_err();
        assert!(error.to_string().contains("String"), "{error}");
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_parent_is_not_deleted_before_its_children() {
        let mut table = ResourceTable::new();
        let parent = table.push("parent").unwrap();
        let child = table.push_child("child", &parent).unwrap();
        let same = Resource::<&str>::new_own(parent.rep());
        let error = table.delete(same).unwrap_err().to_string();
        assert!(error.contains("1 children"), "{error}");
        table.delete(child).unwrap();
        table.delete(parent).unwrap();
        assert!(table.is_empty());
    }

    #[test]
    fn a_borrow_cannot_be_deleted_and_a_full_table_says_so() {
        let mut table = ResourceTable::with_capacity_limit(1);
        let own = table.push(1_u8).unwrap();
        assert!(table.delete(Resource::<u8>::new_borrow(own.rep())).is_err());
        let error = table.push(2_u8).unwrap_err().to_string();
        assert!(error.contains("resources in one table"), "{error}");
        assert_eq!(table.get(&own).unwrap(), &1);
    }
}

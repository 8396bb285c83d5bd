//! The embedder's data: taken out while somebody has it in hand.

use super::deferral::Deferral;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// Holds the data of a store.
pub(crate) struct DataCell<T> {
    data: Cell<Option<Box<T>>>,
    deferral: Rc<Deferral>,
}

impl<T> DataCell<T> {
    pub(crate) fn new(data: T, deferral: Rc<Deferral>) -> DataCell<T> {
        DataCell {
            data: Cell::new(Some(Box::new(data))),
            deferral,
        }
    }

    /// Takes the data, unless somebody has it.
    pub(crate) fn take(&self) -> Option<TakenData<'_, T>> {
        self.data.take().map(|data| TakenData {
            cell: self,
            data: Some(data),
        })
    }
}

/// The data, taken out; it goes back when this is dropped, also on unwind.
pub(crate) struct TakenData<'a, T> {
    cell: &'a DataCell<T>,
    data: Option<Box<T>>,
}

impl<T> TakenData<'_, T> {
    /// Where work is deferred to.
    pub(crate) fn deferral(&self) -> &Deferral {
        &self.cell.deferral
    }
}

impl<T> Deref for TakenData<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.data {
            Some(data) => data,
            None => unreachable!("taken data is there until it is dropped"),
        }
    }
}

impl<T> DerefMut for TakenData<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.data {
            Some(data) => data,
            None => unreachable!("taken data is there until it is dropped"),
        }
    }
}

impl<T> Drop for TakenData<'_, T> {
    fn drop(&mut self) {
        self.cell.data.set(self.data.take());
    }
}

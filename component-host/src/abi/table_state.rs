//! Spec: ### Table State

use crate::error::{Error, trap_if};
use crate::limits::MAX_TABLE_LENGTH;
use crate::trap::Trap;

/// Numbers things for a guest: indices start at 1 and are reused, the latest freed first.
#[derive(Debug)]
pub(crate) struct Table<T> {
    array: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Table<T> {
    pub(crate) fn new() -> Table<T> {
        Table {
            array: vec![None],
            free: Vec::new(),
        }
    }

    pub(crate) fn get(&self, i: u32) -> Result<&T, Error> {
        match self.array.get(i as usize) {
            Some(Some(e)) => Ok(e),
            _ => Err(Trap::UnknownHandleIndex(i).into()),
        }
    }

    pub(crate) fn get_mut(&mut self, i: u32) -> Result<&mut T, Error> {
        match self.array.get_mut(i as usize) {
            Some(Some(e)) => Ok(e),
            _ => Err(Trap::UnknownHandleIndex(i).into()),
        }
    }

    pub(crate) fn add(&mut self, e: T) -> Result<u32, Error> {
        if let Some(i) = self.free.pop() {
            self.array[i as usize] = Some(e);
            return Ok(i);
        }
        let i = self.array.len();
        trap_if!(i > MAX_TABLE_LENGTH, Trap::HandleTableFull);
        self.array.push(Some(e));
        Ok(i as u32)
    }

    pub(crate) fn remove(&mut self, i: u32) -> Result<T, Error> {
        match self.array.get_mut(i as usize).and_then(Option::take) {
            Some(e) => {
                self.free.push(i);
                Ok(e)
            }
            None => Err(Trap::UnknownHandleIndex(i).into()),
        }
    }

    /// Empties the table.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.free.clear();
        std::mem::replace(&mut self.array, vec![None])
            .into_iter()
            .flatten()
    }
}

#[cfg(all(test, feature = "heavy-tests"))]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_full_at_the_specifications_length() {
        let mut table = Table::new();
        for expected in 1..=MAX_TABLE_LENGTH {
            assert_eq!(table.add(()).unwrap() as usize, expected);
        }
        let error = table.add(()).unwrap_err();
        assert_eq!(error.trap(), Some(&Trap::HandleTableFull));
        // A freed index is used again.
        table.remove(7).unwrap();
        assert_eq!(table.add(()).unwrap(), 7);
        assert!(table.add(()).is_err());
    }
}

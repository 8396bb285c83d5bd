//! Sorts slots by size, so that one that was freed serves the next task of about its size.

/// Sizes in steps of 16 bytes up to this, in powers of two beyond.
const FINE: usize = 1024;

/// How many classes there are: up to that of the largest power of two.
pub(crate) const CLASSES: usize = class_of(1 << (usize::BITS - 1)) + 1;

/// The class of slots with at least `size` bytes.
pub(crate) const fn class_of(size: usize) -> usize {
    if size <= FINE {
        size.div_ceil(16)
    } else {
        FINE / 16 + (size.next_power_of_two().trailing_zeros() - FINE.trailing_zeros()) as usize
    }
}

/// The bytes that a slot of this class has, a multiple of 16.
pub(crate) const fn stride_of(class: usize) -> usize {
    if class <= FINE / 16 {
        class * 16
    } else {
        FINE << (class - FINE / 16)
    }
}

#[cfg(test)]
mod tests {
    use super::{CLASSES, class_of, stride_of};

    #[test]
    fn every_size_fits_its_class_and_not_the_one_below() {
        let sizes = (1..5000).chain((12..usize::BITS - 1).flat_map(|power| {
            let size = 1 << power;
            [size - 1, size, size + 1]
        }));
        for size in sizes {
            let class = class_of(size);
            assert!(class < CLASSES, "{size}");
            assert!(
                stride_of(class) >= size && stride_of(class).is_multiple_of(16),
                "{size}"
            );
            assert!(class == 0 || stride_of(class - 1) < size, "{size}");
        }
        assert_eq!(stride_of(CLASSES - 1), 1 << (usize::BITS - 1));
    }
}

//! Majorities of a cohort, counted over its members.

/// Members that make a majority of `members`.
pub(crate) fn majority(members: usize) -> usize {
    members / 2 + 1
}

/// The greatest value that a majority of `members` has reached, given what each known one has reached (members not
/// listed have reached nothing); `None` if too few are listed.
pub(crate) fn reached_by_majority<T: Ord + Copy>(members: usize, reached: &mut [T]) -> Option<T> {
    reached.sort_unstable_by(|a, b| b.cmp(a));
    reached.get(majority(members) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_counting() {
        for members in 1..=5_usize {
            for code in 0..4_usize.pow(members as u32) {
                let values: Vec<usize> = (0..members).map(|i| code / 4_usize.pow(i as u32) % 4).collect();
                let slow =
                    (0..4).rev().find(|&v| values.iter().filter(|&&x| x >= v).count() >= majority(members));
                assert_eq!(reached_by_majority(members, &mut values.clone()), slow);
            }
        }
    }

    #[test]
    fn too_few_reach_nothing() {
        assert_eq!(reached_by_majority(3, &mut [7]), None);
        assert_eq!(reached_by_majority::<u64>(1, &mut []), None);
    }
}

//! How the rows of a step are shared out.

/// Rows for each of the texts that wait with `waiting[i]` tokens, together at most `rows`.
///
/// Every text gets one first, so that those that write go on whatever long text is being read; where there are more texts than rows, those from `turn` on, cyclically. What is left is shared
/// evenly among those that wait with more, and what one of them does not need goes to the others.
pub(super) fn share_rows(waiting: &[usize], rows: usize, turn: usize) -> Vec<usize> {
    let mut shares = vec![0; waiting.len()];
    let mut left = rows;
    let count = waiting.len();
    for index in (0..count).map(|offset| (turn % count + offset) % count) {
        if waiting[index] > 0 && left > 0 {
            shares[index] = 1;
            left -= 1;
        }
    }
    // From the shortest on: each takes its even share of what is left, or all that it needs.
    let mut order: Vec<usize> = (0..count).filter(|&index| shares[index] > 0).collect();
    order.sort_by_key(|&index| waiting[index]);
    for (done, &index) in order.iter().enumerate() {
        let share = (left / (order.len() - done)).min(waiting[index] - 1);
        shares[index] += share;
        left -= share;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_write_go_first_and_the_rest_is_even() {
        assert_eq!(share_rows(&[1, 1, 1000, 1], 64, 0), [1, 1, 61, 1]);
        assert_eq!(share_rows(&[500, 1, 500], 101, 0), [50, 1, 50]);
        // What the short one does not need goes to the others.
        assert_eq!(share_rows(&[500, 10, 500], 110, 0), [50, 10, 50]);
        assert_eq!(share_rows(&[3, 0, 2], 64, 0), [3, 0, 2]);
        assert_eq!(share_rows(&[0, 0], 64, 1), [0, 0]);
        assert!(share_rows(&[], 64, 3).is_empty());
    }

    #[test]
    fn more_texts_than_rows_take_turns() {
        assert_eq!(share_rows(&[1, 5, 1, 1], 2, 0), [1, 1, 0, 0]);
        assert_eq!(share_rows(&[1, 5, 1, 1], 2, 2), [0, 0, 1, 1]);
        assert_eq!(share_rows(&[1, 5, 1, 1], 2, 7), [1, 0, 0, 1]);
        assert_eq!(share_rows(&[4, 4], 0, 0), [0, 0]);
    }

    #[test]
    fn no_row_is_lost_and_none_too_many() {
        for rows in 0..40 {
            for waiting in [&[7usize, 1, 30, 2][..], &[9, 9, 9], &[1], &[0, 12]] {
                let shares = share_rows(waiting, rows, 1);
                let total: usize = waiting.iter().sum();
                assert_eq!(
                    shares.iter().sum::<usize>(),
                    rows.min(total),
                    "{waiting:?} {rows}"
                );
                assert!(
                    shares
                        .iter()
                        .zip(waiting)
                        .all(|(share, wait)| share <= wait)
                );
            }
        }
    }
}

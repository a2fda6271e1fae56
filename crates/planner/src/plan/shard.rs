//! Where a shard ends: cut by rows and by bytes, so that a round of any size has at most about 2,000 of them.

/// Rows that a shard has at least before it is cut for its rows.
const MIN_ROWS: u64 = 4096;

/// Payload bytes that a shard has at least before it is cut for its bytes: 8 GiB.
const MIN_BYTES: u64 = 8 << 30;

/// How much of what a step has so far one more shard may hold. The limit grows with the step, so that the number of shards
/// grows with the logarithm of its size: about 250 up to a million rows, 2,000 at a billion.
const SHARE: u64 = 250;

/// Whether a shard with `rows` and `bytes` is full, in a step that has `step_rows` and `step_bytes` already.
#[must_use]
pub fn shard_limit(rows: u64, bytes: u64, step_rows: u64, step_bytes: u64) -> bool {
    rows >= MIN_ROWS.max(step_rows / SHARE) || (bytes >= MIN_BYTES.max(step_bytes / SHARE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(total: u64, size: u64) -> usize {
        let (mut count, mut rows, mut step) = (0, 0, 0);
        let chunk = (total / 1_000_000).max(1);
        while step < total {
            rows += chunk;
            step += chunk;
            if shard_limit(rows, rows * size, step, step * size) {
                count += 1;
                rows = 0;
            }
        }
        count + usize::from(rows > 0)
    }

    #[test]
    fn the_number_of_shards_stays_small() {
        assert_eq!(shards(4000, 1), 1);
        assert_eq!(shards(100_000, 1), 25);
        assert!(shards(10_000_000, 1) < 1_200);
        assert!(shards(1_000_000_000, 1) < 2_400);
        assert_eq!(shards(100, 1 << 30), 13);
    }
}

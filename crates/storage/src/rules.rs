//! How much of the disk is whose.

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Group whose members may use the reserve, as `sysusers.conf` numbers it.
pub const RESERVE_GROUP: u32 = 803;

/// Accounts with a limit of their own, as `sysusers.conf` and Debian number them.
const ACCOUNTS: [Account; 5] = [
    // The agent keeps what the disk is for: models, recordings, generated files.
    Account { uid: 810, bytes_percent: 100, inodes_percent: 88 },
    Account { uid: 812, bytes_percent: 5, inodes_percent: 1 },
    Account { uid: 813, bytes_percent: 25, inodes_percent: 5 },
    // www-data: nginx keeps nothing there.
    Account { uid: 33, bytes_percent: 5, inodes_percent: 1 },
    // The owner's shell.
    Account { uid: 1000, bytes_percent: 100, inodes_percent: 3 },
];

struct Account {
    uid: u32,
    bytes_percent: u64,
    inodes_percent: u64,
}

/// Bytes that only the system and the members of [`RESERVE_GROUP`] may use, of a file system of `total` bytes.
pub fn reserve_bytes(total: u64) -> u64 {
    (total / 20).clamp(64 * MIB, GIB).min(total / 10)
}

/// What ordinary writers leave free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Bytes, beside those of the reserve.
    pub bytes: u64,
    /// Inodes: how many files can still be made.
    pub inodes: u64,
}

impl Floor {
    /// That of a file system of this size. One that does not count inodes (0) has no floor of them.
    pub fn of(total_bytes: u64, total_inodes: u64) -> Self {
        Self {
            bytes: (total_bytes / 20).clamp(128 * MIB, 2 * GIB).min(total_bytes / 10),
            // Nobody misses them: a file has 16 KiB on average before inodes run out.
            inodes: total_inodes / 8,
        }
    }
}

/// What one account may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The account.
    pub uid: u32,
    /// Bytes.
    pub bytes: u64,
    /// Files and folders.
    pub inodes: u64,
}

/// The quotas on a file system of this size. They are what holds when a program does not ask before it writes:
/// they begin within the floor, so whoever asks never meets them.
///
/// ext4 has no reserve of inodes, so the accounts' shares of them leave some to the system.
pub fn quotas(total_bytes: u64, total_inodes: u64) -> Vec<Quota> {
    let left = Floor::of(total_bytes, total_inodes).bytes / 2;
    let usable = total_bytes.saturating_sub(reserve_bytes(total_bytes)).saturating_sub(left);
    let quota = |account: &Account| Quota {
        uid: account.uid,
        bytes: usable / 100 * account.bytes_percent,
        inodes: total_inodes / 100 * account.inodes_percent,
    };
    ACCOUNTS.iter().map(quota).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_and_the_floor_grow_with_the_disk_within_bounds() {
        for (total, reserve, floor) in [
            (8 * MIB, 8 * MIB / 10, 8 * MIB / 10),
            (GIB, 64 * MIB, GIB / 10),
            (5 * GIB, 256 * MIB, 256 * MIB),
            (100 * GIB, GIB, 2 * GIB),
            (4 << 40, GIB, 2 * GIB),
        ] {
            assert_eq!(reserve_bytes(total), reserve, "{total}");
            assert_eq!(Floor::of(total, 0), Floor { bytes: floor, inodes: 0 }, "{total}");
        }
        for (total, floor) in [(0, 0), (500, 62), (100_000, 12_500)] {
            assert_eq!(Floor::of(GIB, total).inodes, floor, "{total}");
        }
    }

    #[test]
    fn who_asks_never_meets_a_quota_and_who_does_not_never_meets_the_reserve() {
        for total in [GIB, 5 * GIB, 500 * GIB] {
            let agent = quotas(total, 1_000_000)[0];
            let ordinary = total - reserve_bytes(total);
            assert!(agent.bytes > ordinary - Floor::of(total, 0).bytes, "{total}: it stops by itself before");
            assert!(agent.bytes < ordinary, "{total}");
            assert!(
                agent.inodes > 1_000_000 - Floor::of(total, 1_000_000).inodes,
                "{total}: health tells before"
            );
        }
    }

    #[test]
    fn all_accounts_together_leave_inodes_to_the_system() {
        let shares: u64 = quotas(GIB, 1_000_000).iter().map(|quota| quota.inodes).sum();
        assert_eq!(shares, 980_000);
    }
}

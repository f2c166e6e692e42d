//! What keeps the data partition usable when a program fills it: a reserve for the system, and quotas.
//!
//! None of it is worth losing the data for: what cannot be set is told on the console, and the start goes on.

use nix::sys::quota::{Dqblk, QuotaType, QuotaValidFlags, quotactl_set};
use nix::sys::statvfs::statvfs;

use actionbooster_storage::{RESERVE_GROUP, quotas, reserve_bytes};

use crate::superblock::Superblock;
use crate::{Error, console, tools};

/// quotactl(2) counts limits of space in these.
const QUOTA_BLOCK_BYTES: u64 = 1024;

/// Options for the mount. Root may always use the reserve; the group may too.
pub(crate) fn mount_options() -> String {
    format!("errors=remount-ro,resgid={RESERVE_GROUP},usrquota")
}

/// Brings an unmounted file system in order that was made otherwise, or has grown since.
pub(crate) fn prepare(device: &str, found: Superblock) {
    if !found.user_quota {
        console::note("giving the data partition quotas");
        tools::add_quota(device).unwrap_or_else(|error| console::tell(&error.to_string()));
    }
    if let Some(blocks) = new_reserve(found) {
        tools::reserve(device, blocks).unwrap_or_else(|error| console::tell(&error.to_string()));
    }
}

/// Blocks of the reserve, when it must change.
fn new_reserve(found: Superblock) -> Option<u64> {
    let wanted = reserve_bytes(found.size_bytes) / found.block_bytes;
    (found.reserved_blocks != wanted).then_some(wanted)
}

/// Sets the quotas of the mounted file system, which may have another size than at the last start.
pub(crate) fn set(device: &str, mount: &str) {
    apply(device, mount)
        .unwrap_or_else(|error| console::tell(&format!("{error}; nothing limits the daemons")));
}

fn apply(device: &str, mount: &str) -> Result<(), Error> {
    let cannot = |source| Error::System { action: "set the quotas of the data partition", source };
    let size = statvfs(mount).map_err(cannot)?;
    for quota in quotas(size.blocks() * size.fragment_size(), size.files()) {
        let mut limits = Dqblk::default();
        limits.set_blocks_hard_limit(quota.bytes / QUOTA_BLOCK_BYTES);
        limits.set_inodes_hard_limit(quota.inodes);
        quotactl_set(
            QuotaType::USRQUOTA,
            device,
            quota.uid.cast_signed(),
            &limits,
            QuotaValidFlags::QIF_LIMITS,
        )
        .map_err(cannot)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_follows_the_size_and_changes_only_when_it_must() {
        let found = |size_bytes, reserved_blocks| Superblock {
            errors: false,
            size_bytes,
            block_bytes: 4096,
            reserved_blocks,
            user_quota: true,
        };
        // As systemd-repart makes it, as mkfs would, and as it is to be.
        for (reserved, expected) in [(0, Some(65_536)), (100_000, Some(65_536)), (65_536, None)] {
            assert_eq!(new_reserve(found(5 << 30, reserved)), expected, "{reserved}");
        }
        assert_eq!(new_reserve(found(1 << 40, 65_536)), Some(262_144), "the disk grew");
    }
}

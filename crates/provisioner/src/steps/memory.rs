//! zRAM and the kernel's use of it.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Action, Context};
use crate::decide::Plan;
use crate::system::Access;

pub fn ensure(plan: &Plan, context: &Context) -> Result<()> {
    let memory = &plan.memory;
    let zram = (
        context.layout.at("etc/systemd/zram-generator.conf"),
        format!(
            "# Written by booster-provisioner from the size of main memory.\n\
             [zram0]\nzram-size = {}\ncompression-algorithm = zstd\nswap-priority = 100\n",
            memory.zram_bytes >> 20
        ),
    );
    // The generator turns this file into units, so systemd must read those again first.
    context.ensure_all(&[zram], Access::PUBLIC, &[Action::ReloadUnits, Action::RestartZram])?;
    // Reading ahead from compressed memory only costs time.
    let values = [("vm/swappiness", memory.swappiness.to_string()), ("vm/page-cluster", "0".to_owned())];
    let mut file = String::from("# Written by booster-provisioner: swap is compressed memory here.\n");
    for (key, value) in &values {
        // Writing to a string cannot fail.
        _ = writeln!(file, "{} = {value}", key.replace('/', "."));
    }
    context.ensure(
        &context.layout.at("etc/sysctl.d/60-actionbooster.conf"),
        file.as_bytes(),
        Access::PUBLIC,
    )?;
    values.iter().try_for_each(|(key, value)| context.ensure_kernel(key, value))
}

//! The firewall, through UFW's own files, so that `ufw status` and `ufw allow` go on working.
//!
//! UFW's command is not used: it takes seconds at boot and rewrites one rule at a time, each a
//! moment of its own. Its start script loads these files.

use anyhow::Result;

use super::{Action, Context, ufw};
use crate::decide::Plan;
use crate::system::Access;

pub fn ensure(plan: &Plan, context: &Context) -> Result<()> {
    let rules = &plan.firewall;
    let policies = [
        (context.layout.at("etc/default/ufw"), ufw::policies()),
        (context.layout.at("etc/ufw/ufw.conf"), ufw::switch()),
    ];
    let exceptions = [
        (context.layout.at("etc/ufw/user.rules"), ufw::rules(rules, ufw::Family::V4)),
        (context.layout.at("etc/ufw/user6.rules"), ufw::rules(rules, ufw::Family::V6)),
    ];
    // Exceptions before the switch: a cut must not leave the box shut and without its portal.
    context.ensure_all(&exceptions, Access::GROUP, &[Action::LoadRules])?;
    context.ensure_all(&policies, Access::PUBLIC, &[Action::RestartFirewall])?;
    load(context)
}

/// Gives the running firewall what changed. Before it has started, its own start does.
fn load(context: &Context) -> Result<()> {
    if !context.pending.contains(Action::RestartFirewall) && !context.pending.contains(Action::LoadRules) {
        return Ok(());
    }
    if context.system.is_active("ufw.service") {
        if context.pending.contains(Action::RestartFirewall) {
            context.run(&["/usr/lib/ufw/ufw-init", "force-reload"])?;
        } else {
            // One transaction each: there is no moment without rules.
            context.run(&["iptables-restore", "--noflush", "/etc/ufw/user.rules"])?;
            context.run(&["ip6tables-restore", "--noflush", "/etc/ufw/user6.rules"])?;
        }
    }
    context.complete(Action::RestartFirewall)?;
    context.complete(Action::LoadRules)
}

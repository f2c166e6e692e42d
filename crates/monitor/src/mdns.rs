//! Watches the name that systemd-resolved answers for. Where another device has the box's name, it
//! chooses another one; consoles and certificate must follow.

use std::sync::Arc;

use futures::StreamExt;

use crate::{Monitor, Shared, reports, system};

#[zbus::proxy(
    interface = "org.freedesktop.resolve1.Manager",
    default_service = "org.freedesktop.resolve1",
    default_path = "/org/freedesktop/resolve1"
)]
trait Resolver {
    /// The name for LLMNR and mDNS alike, as it is after conflicts.
    #[zbus(property, name = "LLMNRHostname")]
    fn published_hostname(&self) -> zbus::Result<String>;
}

/// Watches until the daemon ends.
pub(crate) async fn watch(monitor: Shared) {
    if !monitor.paths.is_appliance() {
        return;
    }
    if let Err(error) = follow(&monitor).await {
        tracing::warn!(%error, "a change of the box's name on the network would go unnoticed");
    }
}

async fn follow(monitor: &Arc<Monitor>) -> zbus::Result<()> {
    let bus = zbus::Connection::system().await?;
    let resolver = ResolverProxy::new(&bus).await?;
    let mut changes = resolver.receive_published_hostname_changed().await;
    while let Some(change) = changes.next().await {
        let name = change.get().await?;
        let known = reports::network(monitor);
        if known["mdns_name"] != format!("{name}.local") {
            tracing::info!(name, "the network finds this box under another name");
            system::announce(&monitor.paths).await;
        }
    }
    Ok(())
}

//! Waiting for devices to appear, woken by the kernel's own announcements.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use crate::Error;

/// The multicast group of the kernel's device events.
const KERNEL_EVENTS: u32 = 1;

/// The kernel's device events since this was made.
pub struct Hotplug(OwnedFd);

impl Hotplug {
    /// Starts listening. Look at the devices afterwards, so that none falls between.
    pub fn listen() -> Result<Self, Error> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let open = socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol)
            .map_err(Error::system("listen for devices"))?;
        bind(open.as_raw_fd(), &NetlinkAddr::new(0, KERNEL_EVENTS))
            .map_err(Error::system("listen for devices"))?;
        Ok(Self(open))
    }

    /// Calls `look` now and after every burst of events, until it finds something or time is up.
    pub fn wait_for<T>(&self, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = look() {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut watched = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            // An interrupted or failed wait only means looking again a little early.
            let _woken = poll(&mut watched, timeout);
            self.drain();
        }
    }

    /// What the events say does not matter, only that something happened.
    fn drain(&self) {
        let mut buffer = [0; 8192];
        while recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()).is_ok() {}
    }
}

//! Who may ask the services on the system bus for what. Whatever a row does not allow is refused.

/// Users that ask, besides root. `nobody` stands for every user that a rule does not know.
pub const USERS: &[&str] =
    &["booster-agent", "booster-monitor", "booster-runner", "booster-worker", "www-data", "owner", "nobody"];

/// A file that a command would make that a user got root to run.
pub const MARKER: &str = "/run/privileges-marker";

/// What follows for a user who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The call succeeds.
    Done,
    /// The service answers or fails with these words.
    Says(&'static str),
}

/// One method with arguments.
pub struct Call {
    /// Where it is asked.
    pub object: &'static str,
    /// Method, signature and arguments, as `busctl call` takes them.
    pub method: &'static str,
    /// Users that are allowed it.
    pub allowed: &'static [&'static str],
    /// What they get.
    pub then: Then,
}

const SYSTEMD: &str = "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager";
const LOGIN: &str = "org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager";
const HOSTNAME: &str = "org.freedesktop.hostname1 /org/freedesktop/hostname1 org.freedesktop.hostname1";
const LOCALE: &str = "org.freedesktop.locale1 /org/freedesktop/locale1 org.freedesktop.locale1";
const TIME: &str = "org.freedesktop.timedate1 /org/freedesktop/timedate1 org.freedesktop.timedate1";
const NETWORK: &str = "org.freedesktop.network1 /org/freedesktop/network1 org.freedesktop.network1.Manager";
const RESOLVE: &str = "org.freedesktop.resolve1 /org/freedesktop/resolve1 org.freedesktop.resolve1.Manager";
const RAUC: &str = "de.pengutronix.rauc / de.pengutronix.rauc.Installer";
const BUS: &str = "org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus";

const NOBODY: &[&str] = &[];
const AGENT: &[&str] = &["booster-agent"];
const MONITOR: &[&str] = &["booster-monitor"];

/// systemd's refusal of a transient unit whose name has a unit file.
const EXISTS: Then = Then::Says("has a fragment file");

const fn refused(object: &'static str, method: &'static str) -> Call {
    Call { object, method, allowed: NOBODY, then: Then::Done }
}

const fn allowed(
    object: &'static str,
    method: &'static str,
    allowed: &'static [&'static str],
    then: Then,
) -> Call {
    Call { object, method, allowed, then }
}

/// `StartTransientUnit` of this name, as root, leaving [`MARKER`] behind.
macro_rules! transient {
    ($name:literal) => {
        concat!(
            "StartTransientUnit 'ssa(sv)a(sa(sv))' '",
            $name,
            "' replace 2 ExecStart 'a(sasb)' 1 /usr/bin/touch 2 touch /run/privileges-marker false \
             User s root 0"
        )
    };
}

/// The whole table.
pub const CALLS: &[Call] = &[
    // Units that the caller makes up.
    refused(SYSTEMD, transient!("privileges.service")),
    refused(SYSTEMD, transient!("booster-privileges.service")),
    refused(SYSTEMD, transient!("booster-announce.service")),
    allowed(SYSTEMD, transient!("booster-clock.service"), MONITOR, EXISTS),
    refused(SYSTEMD, transient!("booster-runner.service")),
    refused(SYSTEMD, transient!("booster-runner@privileges.timer")),
    allowed(SYSTEMD, transient!("booster-runner@privileges.service"), AGENT, EXISTS),
    refused(SYSTEMD, transient!("booster-runner@a.b@c.service")),
    // The same beside a unit that may be started: auxiliary units are not asked about.
    allowed(
        SYSTEMD,
        "StartTransientUnit 'ssa(sv)a(sa(sv))' booster-runner@privileges.service replace 0 \
         1 privileges.service 1 ExecStart 'a(sasb)' 1 /usr/bin/touch 2 touch /run/privileges-marker false",
        AGENT,
        EXISTS,
    ),
    // Jobs.
    allowed(SYSTEMD, "RestartUnit ss booster-announce.service replace", MONITOR, Then::Done),
    allowed(SYSTEMD, "RestartUnit ss booster-provisioner.service replace", MONITOR, Then::Done),
    allowed(SYSTEMD, "StartUnit ss booster-clock.service replace", MONITOR, Then::Done),
    allowed(SYSTEMD, "StartUnit ss booster-runner@privileges.service replace", AGENT, Then::Done),
    allowed(SYSTEMD, "StopUnit ss booster-runner@privileges.service replace", AGENT, Then::Done),
    refused(SYSTEMD, "RestartUnit ss booster-runner@privileges.service replace"),
    refused(SYSTEMD, "StopUnit ss booster-provisioner.service replace"),
    refused(SYSTEMD, "StopUnit ss ufw.service replace"),
    refused(SYSTEMD, "StopUnit ss booster-monitor.service replace"),
    refused(SYSTEMD, "RestartUnit ss booster-worker.service replace"),
    refused(SYSTEMD, "ReloadOrRestartUnit ss nginx.service replace"),
    refused(SYSTEMD, "StartUnit ss ssh.service replace"),
    refused(SYSTEMD, "StartUnit ss booster-power@reboot.service replace"),
    refused(SYSTEMD, "StartUnit ss debug-shell.service replace"),
    refused(SYSTEMD, "StartUnit ss rescue.target isolate"),
    refused(SYSTEMD, "EnqueueUnitJob sss booster-worker.service stop replace"),
    refused(SYSTEMD, "ClearJobs"),
    // What a unit is, and what is in it.
    refused(SYSTEMD, "SetUnitProperties 'sba(sv)' booster-worker.service true 1 CPUWeight t 50"),
    refused(SYSTEMD, "SetUnitProperties 'sba(sv)' booster-runner@privileges.service true 1 CPUWeight t 50"),
    refused(SYSTEMD, "KillUnit ssi booster-worker.service main 15"),
    refused(SYSTEMD, "FreezeUnit s booster-worker.service"),
    refused(SYSTEMD, "CleanUnit sas booster-worker.service 1 state"),
    refused(SYSTEMD, "RefUnit s booster-worker.service"),
    refused(SYSTEMD, "ResetFailedUnit s booster-worker.service"),
    refused(SYSTEMD, "ResetFailed"),
    refused(SYSTEMD, "AttachProcessesToUnit ssau booster-worker.service '' 1 1"),
    refused(SYSTEMD, "BindMountUnit sssbb booster-worker.service /etc /run/privileges true true"),
    // Unit files and systemd itself.
    refused(SYSTEMD, "EnableUnitFiles asbb 1 ssh.service true false"),
    refused(SYSTEMD, "DisableUnitFiles asb 1 ufw.service true"),
    refused(SYSTEMD, "MaskUnitFiles asbb 1 ufw.service true false"),
    refused(SYSTEMD, "LinkUnitFiles asbb 1 /tmp/privileges.service true false"),
    refused(SYSTEMD, "PresetUnitFiles asbb 1 ssh.service true false"),
    refused(SYSTEMD, "SetDefaultTarget sb rescue.target true"),
    refused(SYSTEMD, "Reload"),
    refused(SYSTEMD, "Reexecute"),
    refused(SYSTEMD, "SetEnvironment as 1 LD_PRELOAD=/tmp/privileges.so"),
    refused(SYSTEMD, "UnsetEnvironment as 1 PATH"),
    refused(SYSTEMD, "Reboot"),
    refused(SYSTEMD, "PowerOff"),
    refused(BUS, "UpdateActivationEnvironment 'a{ss}' 1 LD_PRELOAD /tmp/privileges.so"),
    // The machine.
    refused(LOGIN, "CanReboot"),
    refused(LOGIN, "CanPowerOff"),
    refused(LOGIN, "CanHalt"),
    refused(LOGIN, "Reboot b false"),
    refused(LOGIN, "PowerOff b false"),
    refused(LOGIN, "ScheduleShutdown st poweroff 32503680000000000"),
    refused(LOGIN, "Halt b false"),
    refused(LOGIN, "SetRebootToFirmwareSetup b true"),
    refused(LOGIN, "SetWallMessage sb privileges true"),
    refused(LOGIN, "SetUserLinger ubb 0 true false"),
    refused(LOGIN, "Inhibit ssss shutdown privileges test block"),
    refused(LOGIN, "FlushDevices b false"),
    // Names, language and time.
    refused(HOSTNAME, "SetHostname sb privileges false"),
    refused(HOSTNAME, "SetStaticHostname sb privileges false"),
    refused(HOSTNAME, "SetPrettyHostname sb privileges false"),
    refused(HOSTNAME, "SetChassis sb server false"),
    refused(HOSTNAME, "GetProductUUID b false"),
    refused(LOCALE, "SetLocale asb 1 LANG=C false"),
    refused(TIME, "SetTime xbb 1000000 true false"),
    refused(TIME, "SetTimezone sb Europe/Madrid false"),
    refused(TIME, "SetLocalRTC bbb true false false"),
    refused(TIME, "SetNTP bb false false"),
    // The network.
    refused(NETWORK, "SetLinkDNS 'ia(iay)' 2 1 2 4 192 0 2 53"),
    refused(NETWORK, "SetLinkDomains 'ia(sb)' 2 1 example.org true"),
    refused(NETWORK, "SetLinkNTP ias 2 1 192.0.2.123"),
    refused(NETWORK, "SetLinkMulticastDNS is 2 no"),
    refused(NETWORK, "RevertLinkDNS i 2"),
    refused(NETWORK, "ReconfigureLink i 2"),
    refused(NETWORK, "ForceRenewLink i 2"),
    refused(NETWORK, "Reload"),
    // Links that networkd manages are refused to everybody.
    refused(RESOLVE, "SetLinkDNS 'ia(iay)' 2 1 2 4 192 0 2 53"),
    refused(RESOLVE, "SetLinkDomains 'ia(sb)' 2 1 example.org true"),
    refused(RESOLVE, "SetLinkDefaultRoute ib 2 false"),
    refused(RESOLVE, "SetLinkMulticastDNS is 2 no"),
    refused(RESOLVE, "RevertLink i 2"),
    // Updates. Nothing installs any yet; root does by hand.
    allowed(RAUC, "GetSlotStatus", MONITOR, Then::Done),
    allowed(RAUC, "Mark ss good booted", MONITOR, Then::Done),
    refused(RAUC, "Install s /tmp/privileges.raucb"),
    refused(RAUC, "InstallBundle 'sa{sv}' /tmp/privileges.raucb 0"),
    refused(RAUC, "InspectBundle 'sa{sv}' /tmp/privileges.raucb 0"),
];

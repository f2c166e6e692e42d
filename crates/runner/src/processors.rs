//! Which processors the engine's threads run on, and how they wait for each other.
//!
//! OpenMP reads both from its environment when the program is loaded, before any of our code runs. So the
//! program sets them and starts again in the same process.

use std::os::unix::process::CommandExt;
use std::process::Command;

use actionbooster_hardware::CpuList;
use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Holds the processors of the process, and says that it has started again.
const MARK: &str = "ACTIONBOOSTER_PROCESSORS";
/// How often a thread looks for the others at a barrier before it sleeps. Sleeping at once costs a runner more
/// than half of its speed; as often as OpenMP likes makes two runners on the same cores four times slower.
/// Measured, this is near the best of both.
const SPINS: &str = "1000";

/// The processors that this process may use.
#[derive(Debug, Clone)]
pub(crate) struct Processors(CpuSet);

impl Processors {
    /// Starts the program again with the environment that OpenMP needs, unless that has happened; then tells
    /// the processors. `wanted` limits them; none are all. `threads` compute, 0 is one for each.
    pub(crate) fn settle(wanted: &[usize], threads: u32) -> Result<Self> {
        if let Ok(told) = std::env::var(MARK) {
            return Ok(Self(set_of(&told.parse::<CpuList>().context(MARK)?.numbers())?));
        }
        if !wanted.is_empty() {
            let set = set_of(wanted)?;
            sched_setaffinity(Pid::from_raw(0), &set)
                .with_context(|| format!("cannot run on the processors {wanted:?} of [runner] cpus"))?;
        }
        let allowed =
            sched_getaffinity(Pid::from_raw(0)).context("cannot read the processors of this process")?;
        let allowed: Vec<usize> =
            (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
        let program = std::env::current_exe().context("cannot find this program")?;
        let error = Command::new(program)
            .args(std::env::args_os().skip(1))
            .envs(environment(&allowed, threads))
            .exec();
        Err(error).context("cannot start again with the settings of OpenMP")
    }

    /// How many they are.
    pub(crate) fn count(&self) -> u32 {
        (0..CpuSet::count()).filter(|cpu| self.0.is_set(*cpu).unwrap_or(false)).count() as u32
    }

    /// Lets this thread use all of them. OpenMP ties the first thread, and all that come from it, to one.
    pub(crate) fn spread(&self) {
        if let Err(error) = sched_setaffinity(Pid::from_raw(0), &self.0) {
            tracing::warn!(%error, "a thread stays on one processor");
        }
    }
}

fn set_of(cpus: &[usize]) -> Result<CpuSet> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu).with_context(|| format!("there is no processor {cpu}"))?;
    }
    Ok(set)
}

/// What OpenMP is told.
fn environment(allowed: &[usize], threads: u32) -> Vec<(&'static str, String)> {
    let list: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    let mut environment = vec![(MARK, list.join(",")), ("GOMP_SPINCOUNT", SPINS.into())];
    // A thread that stays on its core wakes sooner. Where only few of the cores are used, all runners would
    // choose the same ones, so there the kernel chooses.
    if threads == 0 || threads as usize * 2 > allowed.len() {
        environment.push(("OMP_PROC_BIND", "close".into()));
        environment.push(("OMP_PLACES", "cores".into()));
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_tied_to_cores_only_when_they_take_most_of_them() {
        for (allowed, threads, tied) in [
            (vec![0, 1], 0, true),
            (vec![4, 5, 6, 7], 4, true),
            (vec![0, 1, 2, 3], 2, false),
            (vec![3], 1, true),
        ] {
            let told = environment(&allowed, threads);
            assert_eq!(told.iter().any(|(name, _)| *name == "OMP_PROC_BIND"), tied, "{allowed:?} {threads}");
        }
        assert_eq!(environment(&[0, 2], 0)[0], (MARK, "0,2".to_owned()));
    }
}

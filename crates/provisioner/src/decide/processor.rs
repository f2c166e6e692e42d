//! Which processors a model runs on.

use actionbooster_hardware::Cpu;
use serde::{Deserialize, Serialize};

/// More threads than this gain nothing: reading weights from memory is then the limit.
const MOST_THREADS: usize = 16;

/// Processors for a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerCpus {
    /// Threads a model computes with.
    pub threads: u32,
    /// Processors, as the kernel writes sets: `0-3,6`.
    pub cpus: String,
    /// Whether those are fewer than all, so that a model must be kept on them.
    pub pinned: bool,
}

/// Takes the fast cores only where there are slow ones too: a step of a model ends with its
/// slowest thread, and on RK3588 all eight cores are slower than the four big ones.
pub fn choose(cpu: &Cpu) -> RunnerCpus {
    let fastest = cpu.clusters.iter().map(|cluster| cluster.capacity).max().unwrap_or(0);
    let mut fast: Vec<u32> = cpu
        .clusters
        .iter()
        // Equal cores of two clusters differ a little in their measured capacity.
        .filter(|cluster| cluster.capacity * 10 >= fastest * 9)
        .flat_map(|cluster| cluster.cpus.iter().copied())
        .collect();
    if fast.is_empty() {
        fast = (0..cpu.logical_cpus.max(1)).collect();
    }
    fast.sort_unstable();
    fast.dedup();
    let pinned = fast.len() < cpu.logical_cpus as usize;
    // Without slow cores for the rest of the system, one is left free where there are enough.
    let threads = if pinned || fast.len() < 3 { fast.len() } else { fast.len() - 1 };
    RunnerCpus { threads: threads.min(MOST_THREADS) as u32, cpus: cpu_set(&fast), pinned }
}

/// Writes sorted numbers as the kernel does: `0-3,6`.
fn cpu_set(cpus: &[u32]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = cpus;
    while let Some(&first) = rest.first() {
        let length = rest.iter().zip(first..).take_while(|(cpu, expected)| **cpu == *expected).count();
        let last = rest[length - 1];
        parts.push(if last == first { first.to_string() } else { format!("{first}-{last}") });
        rest = &rest[length..];
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_processors_are_written_as_the_kernel_does() {
        let cases: [(&[u32], &str); 4] =
            [(&[0], "0"), (&[0, 1, 2, 3], "0-3"), (&[4, 5, 7], "4-5,7"), (&[0, 2, 4], "0,2,4")];
        for (cpus, expected) in cases {
            assert_eq!(cpu_set(cpus), expected);
        }
    }
}

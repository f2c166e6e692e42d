//! Which processors language models run on, and which detection.
//!
//! Both compute with one thread for each core and wait at every step for the slowest of them. On the same cores a
//! detector that takes a core for 10 ms holds up all threads of a language model for as long, and the other way
//! round. So each gets cores of its own, where there are enough:
//!
//! | machine | language models | detection |
//! |---|---|---|
//! | 3 processors or fewer | all | 1 thread anywhere |
//! | fast and slow cores, an Arm NPU with a driver | the fast ones | the slow ones: the NPU does the heavy part |
//! | fast and slow cores, fewer than 4 fast ones | the fast ones | the slow ones |
//! | otherwise | the fast ones but the last 1 of 4 to 7, or 2 of 8 and more | those |
//!
//! The rest of the system runs wherever it finds time. Where all cores are equal, language models left it one of
//! four or more before; that one is detection's now.

use actionbooster_hardware::{Architecture, Cpu, CpuList, Npu};
use serde::{Deserialize, Serialize};

/// More threads than this gain nothing: reading weights from memory is then the limit.
const MOST_THREADS: usize = 16;
/// Detectors are small; with more threads than this they mostly wait for each other.
const MOST_DETECTION_THREADS: usize = 4;
/// From so many cores on, detection gets some of its own.
const ENOUGH: usize = 4;
/// From so many fast cores on, it gets two of them.
const PLENTY: usize = 8;

/// Processors for a language model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerCpus {
    /// Threads a model computes with.
    pub threads: u32,
    /// Processors, as the kernel writes sets: `0-3,6`.
    pub cpus: String,
    /// Whether those are fewer than all, so that a model must be kept on them.
    pub pinned: bool,
}

/// Processors for detection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCpus {
    /// Threads a detector computes with.
    pub threads: u32,
    /// Processors, as the kernel writes sets; empty means any.
    pub cpus: String,
}

/// Shares the processors out, as the table of this file says.
///
/// Language models take fast cores only where there are slow ones too: a step of a model ends with its slowest
/// thread, and on RK3588 all eight cores are slower than the four big ones.
pub fn share(cpu: &Cpu, npus: &[Npu]) -> (RunnerCpus, WorkerCpus) {
    let (fast, slow) = fast_and_slow(cpu);
    let all = fast.len() + slow.len();
    if all < ENOUGH {
        let pinned = !slow.is_empty();
        let threads = if pinned || fast.len() < 3 { fast.len() } else { fast.len() - 1 };
        return (runner(&fast, threads, pinned), WorkerCpus { threads: 1, cpus: String::new() });
    }
    let npu = cpu.architecture == Architecture::Aarch64 && npus.iter().any(|npu| npu.device_node.is_some());
    if !slow.is_empty() && (npu || fast.len() < ENOUGH) {
        return (runner(&fast, fast.len(), true), worker(&slow));
    }
    let own = if fast.len() < PLENTY { 1 } else { 2 };
    let (models, detection) = fast.split_at(fast.len() - own);
    (runner(models, models.len(), true), worker(detection))
}

/// The processors of the fast cores and those of the others, each from the lowest number on.
fn fast_and_slow(cpu: &Cpu) -> (Vec<u32>, Vec<u32>) {
    let fastest = cpu.clusters.iter().map(|cluster| cluster.capacity).max().unwrap_or(0);
    // Equal cores of two clusters differ a little in their measured capacity.
    let (fast, slow): (Vec<_>, Vec<_>) =
        cpu.clusters.iter().partition(|cluster| cluster.capacity * 10 >= fastest * 9);
    let cpus = |clusters: Vec<&actionbooster_hardware::Cluster>| {
        CpuList::new(clusters.iter().flat_map(|cluster| cluster.cpus.iter().copied())).cpus().to_vec()
    };
    let (fast, slow) = (cpus(fast), cpus(slow));
    if fast.is_empty() {
        return ((0..cpu.logical_cpus.max(1)).collect(), slow);
    }
    (fast, slow)
}

fn runner(cpus: &[u32], threads: usize, pinned: bool) -> RunnerCpus {
    let list = CpuList::new(cpus.iter().copied());
    RunnerCpus { threads: threads.min(MOST_THREADS) as u32, cpus: list.to_string(), pinned }
}

fn worker(cpus: &[u32]) -> WorkerCpus {
    let list = CpuList::new(cpus.iter().copied());
    WorkerCpus { threads: list.len().min(MOST_DETECTION_THREADS) as u32, cpus: list.to_string() }
}

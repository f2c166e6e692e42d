//! The processor: `/proc/cpuinfo`, capacities and frequencies.

use std::collections::BTreeMap;

use crate::cpu_list::{CpuList, MOST_CPUS};
use crate::inventory::{Architecture, Cluster, Cpu, CpuFeatures};
use crate::tree::{Tree, clean};

const FULL_CAPACITY: u32 = 1024;
/// Arm Ltd. in `MIDR_EL1`.
const ARM: &str = "0x41";
/// Part numbers of Arm's cores in `MIDR_EL1`, from their technical reference manuals.
const CORES: &[(&str, &str)] = &[
    ("0xd03", "Cortex-A53"),
    ("0xd04", "Cortex-A35"),
    ("0xd05", "Cortex-A55"),
    ("0xd07", "Cortex-A57"),
    ("0xd08", "Cortex-A72"),
    ("0xd09", "Cortex-A73"),
    ("0xd0a", "Cortex-A75"),
    ("0xd0b", "Cortex-A76"),
    ("0xd0c", "Neoverse-N1"),
    ("0xd0d", "Cortex-A77"),
    ("0xd40", "Neoverse-V1"),
    ("0xd41", "Cortex-A78"),
    ("0xd44", "Cortex-X1"),
    ("0xd46", "Cortex-A510"),
    ("0xd47", "Cortex-A710"),
    ("0xd48", "Cortex-X2"),
    ("0xd49", "Neoverse-N2"),
    ("0xd4d", "Cortex-A715"),
    ("0xd4e", "Cortex-X3"),
    ("0xd4f", "Neoverse-V2"),
    ("0xd80", "Cortex-A520"),
    ("0xd81", "Cortex-A720"),
    ("0xd82", "Cortex-X4"),
];

/// `/proc/cpuinfo` by processor.
pub struct Info {
    processors: BTreeMap<u32, BTreeMap<String, String>>,
}

impl Info {
    /// Reads the file; an unreadable one is as if it named no processor.
    pub fn read(tree: &Tree) -> Self {
        let info = Self::parse(&tree.lines("proc/cpuinfo"));
        if info.processors.is_empty() {
            tree.warn("proc/cpuinfo", "names no processor");
        }
        info
    }

    fn parse(text: &str) -> Self {
        let mut processors = BTreeMap::new();
        for block in text.split("\n\n") {
            let pairs = block.lines().filter_map(|line| line.split_once(':'));
            let fields: BTreeMap<String, String> =
                pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect();
            let number = fields.get("processor").and_then(|number| number.parse().ok());
            if let Some(number) = number.filter(|number| *number < MOST_CPUS) {
                processors.insert(number, fields);
            }
        }
        Self { processors }
    }

    /// The instruction set, or this program's own where the file does not tell.
    pub fn architecture(&self) -> Architecture {
        match self.processors.values().next() {
            Some(fields) if fields.contains_key("CPU implementer") => Architecture::Aarch64,
            Some(fields) if fields.contains_key("flags") => Architecture::X86_64,
            _ if cfg!(target_arch = "aarch64") => Architecture::Aarch64,
            _ => Architecture::X86_64,
        }
    }

    /// Whether every processor has this flag.
    pub fn has_flag(&self, flag: &str) -> bool {
        let flags = |fields: &BTreeMap<String, String>| {
            fields.get("flags").or_else(|| fields.get("Features")).cloned().unwrap_or_default()
        };
        let has = |fields| flags(fields).split_whitespace().any(|word| word == flag);
        !self.processors.is_empty() && self.processors.values().all(has)
    }

    fn field(&self, cpu: u32, name: &str) -> Option<&str> {
        self.processors.get(&cpu)?.get(name).map(String::as_str)
    }

    fn core(&self, cpu: u32) -> &'static str {
        let part = self.field(cpu, "CPU part").filter(|_| self.field(cpu, "CPU implementer") == Some(ARM));
        CORES.iter().find(|(number, _)| Some(*number) == part).map_or("", |(_, name)| name)
    }

    fn features(&self) -> CpuFeatures {
        let x86 = self.architecture() == Architecture::X86_64;
        let on_x86 = |flag: &str| x86 && self.has_flag(flag);
        let on_arm = |flag: &str| !x86 && self.has_flag(flag);
        CpuFeatures {
            avx2: on_x86("avx2"),
            avx512: on_x86("avx512f"),
            fma: on_x86("fma"),
            f16c: on_x86("f16c"),
            dotprod: on_arm("asimddp"),
            i8mm: on_arm("i8mm"),
            fp16: on_arm("fphp") && on_arm("asimdhp"),
        }
    }
}

/// Reads the processor.
pub fn read(tree: &Tree, info: &Info) -> Cpu {
    // The kernel lists what is online in both places.
    let mut online: Vec<u32> = info.processors.keys().copied().collect();
    if online.is_empty() {
        online = tree
            .text("sys/devices/system/cpu/online")
            .map(|text| CpuList::lenient(&text))
            .unwrap_or_default()
            .cpus()
            .to_vec();
    }
    let architecture = info.architecture();
    let clusters = match architecture {
        Architecture::Aarch64 => arm_clusters(tree, info, &online),
        Architecture::X86_64 => x86_clusters(tree, &online),
    };
    let model = match architecture {
        Architecture::Aarch64 => core_names(&clusters).unwrap_or_else(|| "Armv8 processor".into()),
        Architecture::X86_64 => {
            let named = online.first().and_then(|cpu| info.field(*cpu, "model name")).map(clean);
            named.filter(|name| !name.is_empty()).unwrap_or_else(|| "x86-64 processor".into())
        }
    };
    Cpu { architecture, model, logical_cpus: online.len().max(1) as u32, features: info.features(), clusters }
}

/// Cores are equal when they have the same name, capacity and highest frequency.
fn arm_clusters(tree: &Tree, info: &Info, online: &[u32]) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    for cpu in online {
        let folder = format!("sys/devices/system/cpu/cpu{cpu}");
        let capacity = tree.number(&format!("{folder}/cpu_capacity"));
        let capacity = capacity.filter(|value| (1..=u64::from(FULL_CAPACITY)).contains(value));
        let capacity = capacity.map_or(FULL_CAPACITY, |value| value as u32);
        let (core, max_khz) = (info.core(*cpu), max_khz(tree, *cpu));
        let same = |cluster: &&mut Cluster| {
            cluster.core == core && cluster.capacity == capacity && cluster.max_khz == max_khz
        };
        match clusters.iter_mut().find(same) {
            Some(cluster) => cluster.cpus.push(*cpu),
            None => clusters.push(Cluster { cpus: vec![*cpu], core: core.into(), max_khz, capacity }),
        }
    }
    clusters.sort_by_key(|cluster| std::cmp::Reverse((cluster.capacity, cluster.max_khz)));
    clusters
}

/// Equal cores of one x86 chip differ in their highest boost, so only Intel's two kinds of core,
/// which the kernel lists as two performance counters, make clusters.
fn x86_clusters(tree: &Tree, online: &[u32]) -> Vec<Cluster> {
    let kinds = [("P-core", "sys/devices/cpu_core/cpus"), ("E-core", "sys/devices/cpu_atom/cpus")];
    let listed = kinds
        .map(|(core, path)| (core, tree.text(path).map(|text| CpuList::lenient(&text)).unwrap_or_default()));
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut rest: Vec<u32> = online.to_vec();
    for (core, cpus) in listed {
        let (mine, others): (Vec<u32>, Vec<u32>) = rest.iter().partition(|cpu| cpus.cpus().contains(cpu));
        rest = others;
        if !mine.is_empty() {
            clusters.push(x86_cluster(tree, core, mine));
        }
    }
    if !rest.is_empty() {
        clusters.push(x86_cluster(tree, "", rest));
    }
    // The kernel gives no capacity here; highest frequencies are the nearest thing it tells.
    let fastest = clusters.iter().filter_map(|cluster| cluster.max_khz).max();
    for cluster in clusters.iter_mut().filter(|cluster| cluster.core == "E-core") {
        cluster.capacity = match (cluster.max_khz, fastest) {
            (Some(own), Some(fastest)) => (own * u64::from(FULL_CAPACITY) / fastest) as u32,
            _ => FULL_CAPACITY * 2 / 3,
        };
    }
    clusters
}

fn x86_cluster(tree: &Tree, core: &str, cpus: Vec<u32>) -> Cluster {
    let max_khz = cpus.iter().filter_map(|cpu| max_khz(tree, *cpu)).max();
    Cluster { cpus, core: core.into(), max_khz, capacity: FULL_CAPACITY }
}

fn max_khz(tree: &Tree, cpu: u32) -> Option<u64> {
    // From 1 MHz to 100 GHz: anything else is no processor's frequency.
    tree.number(&format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq"))
        .filter(|khz| (1_000..=100_000_000).contains(khz))
}

fn core_names(clusters: &[Cluster]) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    for cluster in clusters {
        if !cluster.core.is_empty() && !names.contains(&cluster.core.as_str()) {
            names.push(&cluster.core);
        }
    }
    (!names.is_empty()).then(|| names.join("+"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_counts_only_when_every_core_has_it() {
        let both = "processor: 0\nflags: avx2 fma\n\nprocessor: 1\nflags: avx2 avx2x\n";
        let info = Info::parse(both);
        assert!(info.has_flag("avx2"));
        assert!(!info.has_flag("fma"));
        assert!(!Info::parse("").has_flag("avx2"));
    }
}

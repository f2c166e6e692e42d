//! What ONNX Runtime may compute on besides the processor: what the library was built with and the machine has.

use std::path::Path;

use ort::ep::{CUDA, ExecutionProvider, MIGraphX, OpenVINO, ROCm};
use ort::session::builder::SessionBuilder;

/// A way to compute.
#[derive(Clone, Copy)]
pub(super) struct Provider {
    /// For people and programs.
    pub(super) name: &'static str,
    /// Device nodes of which one must be there.
    devices: &'static [&'static str],
    /// Whether the library was built with it.
    offered: fn() -> bool,
    /// Makes a session use it.
    pub(super) register: fn(&mut SessionBuilder) -> ort::Result<()>,
}

/// The fastest first. The processor comes after all of them and is no part of the list.
const PROVIDERS: [Provider; 4] = [
    Provider {
        name: "CUDA",
        devices: &["/dev/nvidia0"],
        offered: || CUDA::is_available().unwrap_or(false),
        register: |builder| CUDA::default().register(builder),
    },
    Provider {
        name: "MIGraphX",
        devices: &["/dev/kfd"],
        offered: || MIGraphX::is_available().unwrap_or(false),
        register: |builder| MIGraphX::default().register(builder),
    },
    Provider {
        name: "ROCm",
        devices: &["/dev/kfd"],
        offered: || ROCm::is_available().unwrap_or(false),
        register: |builder| ROCm::default().register(builder),
    },
    // Intel's, on what it thinks best of GPU, NPU and processor. For the processor alone ONNX Runtime's own is as good.
    Provider {
        name: "OpenVINO",
        devices: &["/dev/dri/renderD128", "/dev/accel/accel0"],
        offered: || OpenVINO::is_available().unwrap_or(false),
        register: |builder| OpenVINO::default().with_device_type("AUTO").register(builder),
    },
];

/// Those that may work here, in the order in which they are tried.
pub(super) fn usable() -> impl Iterator<Item = Provider> {
    PROVIDERS.into_iter().filter(|provider| provider.is_there(Path::exists) && (provider.offered)())
}

impl Provider {
    fn is_there(&self, exists: impl Fn(&Path) -> bool) -> bool {
        self.devices.iter().any(|device| exists(Path::new(device)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_machine_has_is_tried_and_the_fastest_first() {
        let on = |nodes: &[&str]| -> Vec<&str> {
            let there = |node: &Path| nodes.iter().any(|known| node == Path::new(known));
            PROVIDERS
                .iter()
                .filter(|provider| provider.is_there(there))
                .map(|provider| provider.name)
                .collect()
        };
        assert!(on(&[]).is_empty());
        assert_eq!(on(&["/dev/accel/accel0"]), ["OpenVINO"]);
        assert_eq!(on(&["/dev/dri/renderD128", "/dev/kfd"]), ["MIGraphX", "ROCm", "OpenVINO"]);
        assert_eq!(on(&["/dev/nvidia0"]), ["CUDA"]);
    }
}

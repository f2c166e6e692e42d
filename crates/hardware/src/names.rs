//! Names of devices for people.

use udev::Hwdb;

/// Where names come from.
pub struct Names {
    database: Option<Hwdb>,
}

impl Names {
    /// udev's hardware database of the running machine, where there is one.
    pub fn database() -> Self {
        Self { database: Hwdb::new().ok() }
    }

    /// No names: libudev always reads the running machine's database, never another root's.
    pub fn none() -> Self {
        Self { database: None }
    }

    /// The model of a PCI device, such as `Navi 22 [Radeon RX 6700/6700 XT/6750 XT]`.
    pub fn pci(&self, vendor: u16, device: u16) -> Option<String> {
        let modalias = format!("pci:v{vendor:08X}d{device:08X}sv00000000sd00000000bc00sc00i00");
        let name = self.database.as_ref()?.query_one(modalias.as_str(), "ID_MODEL_FROM_DATABASE")?;
        name.to_str().map(crate::tree::clean).filter(|name| !name.is_empty())
    }
}

//! A worker without models, for tests of what is around them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actionbooster_chassis::Paths;
use actionbooster_chassis::auth::AuthReader;
use actionbooster_chassis::health::Health;
use actionbooster_models::Store;

use crate::detectors::{Computing, Detectors};
use crate::loaded::Capacity;
use crate::quotas::{Limits, Quotas};
use crate::record::Records;
use crate::{Shared, Worker};

/// One that keeps its files below `root`.
pub(crate) fn worker(root: &Path) -> Shared {
    let patience = Duration::from_secs(10);
    let computing = Computing { threads: 1, cpus: Vec::new(), patience };
    let quotas = Quotas::new(Limits { sessions: 1, client_sessions: 1, client_models: 1 });
    let store = Store::new(root.join("vendor"), root.join("models"));
    Arc::new(Worker {
        detectors: Detectors::new(store, computing, patience, Capacity::of(1, 0), quotas),
        records: Records::open(root.join("records"), 1 << 20, Health::default()).expect("opens"),
        auth: AuthReader::of(&Paths::below(root)),
        guarded: false,
        model: String::new(),
    })
}

//! Leases with engines that are no processes: shared loads, eviction, crashes, clients that leave, the end.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actionbooster_models::Store;
use actionbooster_scheduler::{
    Dependencies, Engine, EngineLauncher, EventSink, KeepAlive, LatencyEstimator, LaunchError, LeaseRequest,
    Limits, ModelEvent, ModelIndex, ModelState, Priority, Process, RetentionPolicy, ScheduleError, Scheduler,
};
use futures::future::BoxFuture;
use tokio::sync::{Notify, Semaphore};
use tonic::transport::Endpoint;

/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// Starts engines that load when the test lets them, and end when it says so.
#[derive(Debug)]
struct Engines {
    /// How many may load.
    loads: Semaphore,
    broken: Mutex<HashSet<String>>,
    /// Those that run; a notice is a crash.
    running: Mutex<HashMap<String, Arc<Notify>>>,
    aborted: Mutex<Vec<String>>,
}

impl EngineLauncher for Engines {
    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Engine, LaunchError>> {
        Box::pin(async move {
            self.loads.acquire().await.expect("open").forget();
            if self.broken.lock().expect("lock").contains(id) {
                return Err(LaunchError::Job { unit: id.to_owned(), result: "failed".into() });
            }
            let (process, supervisor) = Process::supervised();
            let crash = Arc::new(Notify::new());
            self.running.lock().expect("lock").insert(id.to_owned(), Arc::clone(&crash));
            tokio::spawn(async move {
                tokio::select! {
                    () = supervisor.stop_requested() => supervisor.ended("it ended when told to"),
                    () = crash.notified() => supervisor.ended("boom"),
                }
            });
            // Nobody answers there, as if the engine were busy.
            let channel = Endpoint::from_static("http://127.0.0.1:9").connect_lazy();
            Ok(Engine { process, channel })
        })
    }

    fn abort<'a>(&'a self, id: &'a str) -> BoxFuture<'a, ()> {
        self.aborted.lock().expect("lock").push(id.to_owned());
        Box::pin(std::future::ready(()))
    }

    fn clear_leftovers(&self) -> BoxFuture<'_, Result<(), LaunchError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[derive(Debug, Default)]
struct Published {
    events: Mutex<Vec<String>>,
    more: Notify,
}

impl EventSink for Published {
    fn publish(&self, event: ModelEvent<'_>) {
        let text = format!("{} {} {}", event.kind.name(), event.model, event.reason.unwrap_or_default());
        self.events.lock().expect("lock").push(text.trim_end().to_owned());
        self.more.notify_waiters();
    }
}

impl Published {
    fn all(&self) -> Vec<String> {
        self.events.lock().expect("lock").clone()
    }

    async fn wait_for(&self, wanted: &str) {
        let published = async {
            loop {
                let more = self.more.notified();
                if self.all().iter().any(|event| event == wanted) {
                    return;
                }
                more.await;
            }
        };
        let in_time = tokio::time::timeout(LIMIT, published).await;
        assert!(in_time.is_ok(), "{wanted} is not among {:?}", self.all());
    }
}

/// A scheduler over the models `one`, `two` and `small`, of which so many may load.
struct Bench {
    _root: tempfile::TempDir,
    scheduler: Arc<Scheduler>,
    index: Arc<ModelIndex>,
    /// What each model takes.
    size: u64,
    engines: Arc<Engines>,
    events: Arc<Published>,
}

impl Bench {
    /// The budget is a number of models of the same size.
    async fn new(budget_models: u64, loads: usize) -> Self {
        let root = tempfile::tempdir().expect("folder");
        for id in ["one", "two", "small"] {
            add_model(root.path(), id);
        }
        let index = ModelIndex::new(Store::new("/nowhere".into(), root.path().into()), 2);
        let size = index.footprint("one").await.expect("a sound model").counted_bytes;
        let engines = Arc::new(Engines {
            loads: Semaphore::new(loads),
            broken: Mutex::default(),
            running: Mutex::default(),
            aborted: Mutex::default(),
        });
        let events = Arc::<Published>::default();
        let dependencies = Dependencies {
            index: Arc::clone(&index),
            latency: Arc::<LatencyEstimator>::default(),
            launcher: Arc::<Engines>::clone(&engines),
            events: Arc::<Published>::clone(&events),
        };
        let limits = Limits { budget_bytes: size * budget_models, keep_alive: Duration::from_secs(300) };
        let scheduler = Scheduler::new(dependencies, limits);
        Self { _root: root, scheduler, index, size, engines, events }
    }

    fn crash(&self, id: &str) {
        self.engines.running.lock().expect("lock")[id].notify_one();
    }

    fn state(&self, id: &str) -> ModelState {
        self.scheduler.states().get(id).map_or(ModelState::Idle, |(state, _)| *state)
    }
}

fn add_model(store: &Path, id: &str) {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/guide/guide.gguf");
    let folder = store.join(id);
    std::fs::create_dir(&folder).expect("folder");
    let size = std::fs::copy(model, folder.join("model.gguf")).expect("the guide is part of the repository");
    let manifest = format!(
        "id = \"{id}\"\nname = \"G\"\nfile = \"model.gguf\"\nsha256 = \"{}\"\nsize_bytes = {size}\nlicence = \"MIT\"\n",
        "0".repeat(64)
    );
    std::fs::write(folder.join("manifest.toml"), manifest).expect("manifest");
}

fn request(model: &str) -> LeaseRequest {
    LeaseRequest {
        model: model.into(),
        caller: "test".into(),
        priority: Priority::Normal,
        tokens: 100,
        keep_alive: None,
        load_timeout: LIMIT,
    }
}

#[tokio::test]
async fn requests_that_come_together_share_one_load() {
    let bench = Bench::new(2, 1).await;
    let (first, second) = (request("one"), request("one"));
    let (first, second) = tokio::join!(bench.scheduler.lease(&first), bench.scheduler.lease(&second));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(bench.events.all(), ["model.loading one", "model.loaded one"]);
}

#[tokio::test]
async fn an_idle_model_goes_for_another_and_a_busy_or_pinned_one_does_not() {
    let bench = Bench::new(1, 3).await;
    let lease = bench.scheduler.lease(&request("one")).await.expect("room");
    let hurried = LeaseRequest { load_timeout: Duration::ZERO, ..request("two") };
    let error = bench.scheduler.lease(&hurried).await.expect_err("it is busy");
    assert!(matches!(error, ScheduleError::NoRoom { .. }), "{error}");
    drop(lease);
    drop(bench.scheduler.lease(&request("two")).await.expect("the idle one goes"));
    bench.events.wait_for("model.unloaded one the model two needed its memory").await;
    let pinned = RetentionPolicy { pinned: true, keep_alive: None };
    bench.scheduler.set_retention_policies(HashMap::from([("two".to_owned(), pinned)]));
    let error = bench.scheduler.lease(&request("one")).await.expect_err("it is pinned");
    assert!(matches!(&error, ScheduleError::Pinned { pinned, .. } if pinned == &["two"]), "{error}");
    let error = bench.scheduler.release("two").expect_err("it is its owner's to unload");
    assert!(matches!(error, ScheduleError::Kept { .. }), "{error}");
    assert_eq!(bench.state("two"), ModelState::Ready);
    bench.scheduler.set_retention_policies(HashMap::new());
    bench.scheduler.release("two").expect("it is not pinned any more");
    bench.events.wait_for("model.unloaded two it was unloaded on request").await;
}

#[tokio::test]
async fn a_model_whose_settings_change_is_loaded_anew_when_nobody_uses_it() {
    let bench = Bench::new(2, 9).await;
    assert!(bench.scheduler.renew("one"), "nothing has the old settings");
    let first = bench.scheduler.lease(&request("one")).await.expect("room");
    assert!(!bench.scheduler.renew("one"), "it answers");
    let second = bench.scheduler.lease(&request("one")).await.expect("it goes on");
    drop(first);
    assert_eq!(bench.state("one"), ModelState::Ready);
    drop(second);
    bench.events.wait_for("model.unloaded one its settings were changed").await;
    drop(bench.scheduler.lease(&request("one")).await.expect("it is loaded anew"));
    assert!(bench.scheduler.renew("one"), "it is idle");
}

#[tokio::test]
async fn a_change_while_a_model_loads_is_not_lost() {
    let bench = Bench::new(2, 0).await;
    let wanted = request("one");
    let mut lease = Box::pin(bench.scheduler.lease(&wanted));
    let changed = async {
        while bench.state("one") != ModelState::Loading {
            tokio::task::yield_now().await;
        }
        bench.scheduler.renew("one")
    };
    let lease = tokio::select! {
        biased;
        now = changed => {
            assert!(!now, "it loads with the old settings");
            bench.engines.loads.add_permits(1);
            lease.await
        }
        _ = &mut lease => panic!("nothing loads yet"),
    };
    drop(lease.expect("room"));
    bench.events.wait_for("model.unloaded one its settings were changed").await;
}

#[tokio::test]
async fn a_load_that_waits_for_memory_does_not_stop_one_that_fits() {
    let bench = Bench::new(2, 9).await;
    let (one, two) = (request("one"), request("two"));
    let busy = bench.scheduler.lease(&one).await.expect("room");
    bench.index.record_resident("two", bench.size * 2);
    let mut waits = Box::pin(bench.scheduler.lease(&two));
    let small = request("small");
    let fits = async {
        while bench.state("two") != ModelState::Loading {
            tokio::task::yield_now().await;
        }
        bench.scheduler.lease(&small).await
    };
    let passes = tokio::select! {
        passes = fits => passes.expect("it fits"),
        _ = &mut waits => panic!("another model is in use"),
    };
    drop((passes, busy));
    drop(waits.await.expect("when the others are idle, they go"));
    bench.events.wait_for("model.unloaded small the model two needed its memory").await;
}

#[tokio::test]
async fn a_model_that_is_not_to_be_kept_goes_when_its_lease_ends() {
    let bench = Bench::new(2, 1).await;
    let passing = LeaseRequest { keep_alive: Some(KeepAlive::For(Duration::ZERO)), ..request("one") };
    let lease = bench.scheduler.lease(&passing).await.expect("room");
    assert_eq!(bench.state("one"), ModelState::Ready);
    drop(lease);
    bench.events.wait_for("model.unloaded one nobody asked it for as long as it is kept").await;
}

#[tokio::test]
async fn three_crashes_in_a_row_open_the_circuit_and_an_answer_between_them_does_not() {
    let bench = Bench::new(2, 10).await;
    for crash in 0..4 {
        let lease = bench.scheduler.lease(&request("one")).await.expect("it is tried again");
        if crash == 0 {
            bench.crash("one");
            assert_eq!(lease.connection_lost("closed").await, "boom");
            bench.scheduler.record_success("one");
        } else {
            lease.mark_unhealthy("it hangs");
            assert_eq!(lease.connection_lost("closed").await, "it hangs");
        }
    }
    let error = bench.scheduler.lease(&request("one")).await.expect_err("it rests");
    assert!(matches!(&error, ScheduleError::CircuitOpen { reason, .. } if reason == "it hangs"), "{error}");
    assert_eq!(bench.state("one"), ModelState::Failed);
    assert_eq!(bench.events.all().last().map(String::as_str), Some("model.quarantined one it hangs"));
}

#[tokio::test]
async fn an_engine_that_does_not_start_is_an_error_with_its_reason() {
    let bench = Bench::new(2, 1).await;
    bench.engines.broken.lock().expect("lock").insert("one".into());
    let error = bench.scheduler.lease(&request("one")).await.expect_err("it fails");
    assert_eq!(error.to_string(), "the model one could not be loaded: the job of one ended as failed");
    assert_eq!(bench.events.all(), ["model.loading one", "model.crashed one the job of one ended as failed"]);
}

#[tokio::test]
async fn a_client_that_leaves_takes_nobody_elses_load_with_it() {
    let bench = Bench::new(2, 0).await;
    let (leaves, stays) = (request("one"), request("one"));
    let mut left = Box::pin(bench.scheduler.lease(&leaves));
    let mut stays = Box::pin(bench.scheduler.lease(&stays));
    tokio::select! {
        biased;
        _ = &mut left => panic!("nothing loads yet"),
        _ = &mut stays => panic!("nothing loads yet"),
        () = bench.events.wait_for("model.loading one") => {}
    }
    drop(left);
    bench.engines.loads.add_permits(1);
    assert!(stays.await.is_ok());
    assert_eq!(bench.events.all(), ["model.loading one", "model.loaded one"]);
}

#[tokio::test]
async fn a_model_that_loads_is_unloaded_only_by_force() {
    let bench = Bench::new(2, 0).await;
    let wanted = request("one");
    let mut asked = Box::pin(bench.scheduler.lease(&wanted));
    tokio::select! {
        _ = &mut asked => panic!("nothing loads yet"),
        () = bench.events.wait_for("model.loading one") => {}
    }
    assert_eq!(bench.state("one"), ModelState::Loading);
    let error = bench.scheduler.unload("one", false).expect_err("somebody waits for it");
    assert!(matches!(error, ScheduleError::InUse { requests: 1, .. }), "{error}");
    bench.scheduler.unload("one", true).expect("forced");
    let error = asked.await.expect_err("it is gone");
    assert!(matches!(error, ScheduleError::Unloaded { .. }), "{error}");
    assert_eq!(*bench.engines.aborted.lock().expect("lock"), ["one"]);
    assert_eq!(bench.state("one"), ModelState::Idle);
}

#[tokio::test]
async fn the_end_stops_every_engine_and_refuses_who_comes_later() {
    let bench = Bench::new(2, 2).await;
    for id in ["one", "two"] {
        drop(bench.scheduler.lease(&request(id)).await.expect("room"));
    }
    bench.scheduler.close().await;
    assert!(bench.scheduler.running().is_empty());
    let error = bench.scheduler.lease(&request("one")).await;
    assert!(matches!(error, Err(ScheduleError::ShuttingDown)), "{error:?}");
}

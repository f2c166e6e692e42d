//! Which runners must go so that another fits. Pure arithmetic over what is loaded.

use std::time::Instant;

/// A loaded model as the decision sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoadedModel {
    pub(crate) id: String,
    pub(crate) bytes: u64,
    /// Requests in flight.
    pub(crate) in_flight: usize,
    /// Larger is more recent.
    pub(crate) last_used: u64,
    /// Told to stop, and still there.
    pub(crate) stopping: bool,
    /// Never goes for another.
    pub(crate) pinned: bool,
    pub(crate) loaded_at: Instant,
}

/// What to do before a model can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It fits now.
    Load,
    /// Stop these, then look again when they are gone.
    Evict(Vec<String>),
    /// Runners on their way out must be gone first.
    WaitForEnd,
    /// Requests in flight must end first.
    WaitForRequests,
    /// It never fits.
    Refuse,
    /// It never fits beside the pinned models.
    Pinned,
}

/// Decides what has to go for the model `id` of `needed` bytes within `budget` bytes; a budget of 0 is none.
///
/// Idle models go, least recently used first, and only as many as needed. One with work in flight
/// is never touched. What is on its way out counts until it is gone.
pub(crate) fn decide(budget: u64, id: &str, needed: u64, loaded: &[LoadedModel]) -> Decision {
    if loaded.iter().any(|model| model.id == id) {
        // An older runner of the same model is still ending; two would share one socket.
        return Decision::WaitForEnd;
    }
    if budget == 0 {
        return Decision::Load;
    }
    if needed > budget {
        return Decision::Refuse;
    }
    // Wider than the estimates, which saturate.
    let (budget, needed) = (u128::from(budget), u128::from(needed));
    if total(loaded.iter()) + needed <= budget {
        return Decision::Load;
    }
    if total(loaded.iter().filter(|model| model.pinned)) + needed > budget {
        return Decision::Pinned;
    }
    let mut left = total(loaded.iter().filter(|model| !model.stopping));
    let mut idle: Vec<&LoadedModel> =
        loaded.iter().filter(|model| model.in_flight == 0 && !model.stopping && !model.pinned).collect();
    idle.sort_by_key(|model| model.last_used);
    let mut evicted = Vec::new();
    for model in idle {
        if left + needed <= budget {
            break;
        }
        left -= u128::from(model.bytes);
        evicted.push(model.id.clone());
    }
    // Stopping anything is pointless while the busy ones alone leave too little.
    if left + needed > budget {
        Decision::WaitForRequests
    } else if evicted.is_empty() {
        Decision::WaitForEnd
    } else {
        Decision::Evict(evicted)
    }
}

fn total<'a>(models: impl Iterator<Item = &'a LoadedModel>) -> u128 {
    models.map(|model| u128::from(model.bytes)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(id: &str, bytes: u64, last_used: u64) -> LoadedModel {
        LoadedModel {
            id: id.into(),
            bytes,
            in_flight: 0,
            last_used,
            stopping: false,
            pinned: false,
            loaded_at: Instant::now(),
        }
    }

    fn busy(id: &str, bytes: u64) -> LoadedModel {
        LoadedModel { in_flight: 1, ..idle(id, bytes, 0) }
    }

    fn pinned(id: &str, bytes: u64) -> LoadedModel {
        LoadedModel { pinned: true, ..idle(id, bytes, 0) }
    }

    fn stopping(id: &str, bytes: u64) -> LoadedModel {
        LoadedModel { stopping: true, ..idle(id, bytes, 0) }
    }

    #[test]
    fn idle_models_go_least_recently_used_first_and_busy_ones_stay() {
        let evict = |ids: &[&str]| Decision::Evict(ids.iter().map(ToString::to_string).collect());
        let cases = [
            ("room for both", 10, 4, vec![idle("a", 6, 1)], Decision::Load),
            ("exactly room", 10, 10, vec![], Decision::Load),
            ("the oldest goes", 10, 4, vec![idle("a", 4, 2), idle("b", 4, 1)], evict(&["b"])),
            ("as many as needed", 10, 9, vec![idle("a", 4, 2), idle("b", 4, 1)], evict(&["b", "a"])),
            ("busy ones stay", 10, 4, vec![idle("a", 4, 9), busy("b", 4)], evict(&["a"])),
            ("all busy", 10, 4, vec![busy("a", 8)], Decision::WaitForRequests),
            (
                "idle ones are kept when they do not help",
                10,
                4,
                vec![idle("a", 1, 1), busy("b", 9)],
                Decision::WaitForRequests,
            ),
            ("what is ending counts until it is gone", 10, 4, vec![stopping("a", 8)], Decision::WaitForEnd),
            (
                "what is ending saves the others",
                10,
                4,
                vec![stopping("a", 6), idle("b", 4, 1)],
                Decision::WaitForEnd,
            ),
            ("ending ones may not be enough", 10, 9, vec![stopping("a", 6), idle("b", 4, 1)], evict(&["b"])),
            ("the same model is still ending", 10, 1, vec![stopping("new", 1)], Decision::WaitForEnd),
            ("never fits", 10, 11, vec![], Decision::Refuse),
            ("pinned ones stay", 10, 4, vec![pinned("a", 4), idle("b", 4, 9)], evict(&["b"])),
            ("pinned ones leave too little", 10, 7, vec![pinned("a", 4), idle("b", 4, 9)], Decision::Pinned),
            ("no budget", 0, 99, vec![busy("a", 8)], Decision::Load),
            (
                "sums do not overflow",
                10,
                4,
                vec![busy("a", u64::MAX), idle("b", u64::MAX, 1)],
                Decision::WaitForRequests,
            ),
        ];
        for (name, budget, needed, models, expected) in cases {
            assert_eq!(decide(budget, "new", needed, &models), expected, "{name}");
        }
    }
}

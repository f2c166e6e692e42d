//! Which runners must go so that another fits. Pure arithmetic over what is loaded.

/// A loaded model as the decision sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loaded {
    pub(super) id: String,
    pub(super) bytes: u64,
    /// Requests in flight.
    pub(super) in_flight: usize,
    /// Larger is more recent.
    pub(super) last_used: u64,
}

/// What to do before a model can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Stop these, then load.
    Evict(Vec<String>),
    /// It fits only after requests in flight have ended.
    Wait,
    /// It never fits.
    Refuse,
}

/// Decides what has to go for a model of `needed` bytes within `budget` bytes; a budget of 0 is none.
///
/// Idle models go, least recently used first, and only as many as needed. One with work in flight
/// is never touched.
pub(super) fn decide(budget: u64, needed: u64, loaded: &[Loaded]) -> Decision {
    if budget == 0 {
        return Decision::Evict(Vec::new());
    }
    if needed > budget {
        return Decision::Refuse;
    }
    let mut used: u64 = loaded.iter().map(|model| model.bytes).fold(0, u64::saturating_add);
    let mut idle: Vec<&Loaded> = loaded.iter().filter(|model| model.in_flight == 0).collect();
    idle.sort_by_key(|model| model.last_used);
    let mut evicted = Vec::new();
    for model in idle {
        if used.saturating_add(needed) <= budget {
            break;
        }
        used -= model.bytes;
        evicted.push(model.id.clone());
    }
    if used.saturating_add(needed) <= budget { Decision::Evict(evicted) } else { Decision::Wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(id: &str, bytes: u64, in_flight: usize, last_used: u64) -> Loaded {
        Loaded { id: id.into(), bytes, in_flight, last_used }
    }

    #[test]
    fn idle_models_go_least_recently_used_first_and_busy_ones_stay() {
        let evict = |ids: &[&str]| Decision::Evict(ids.iter().map(ToString::to_string).collect());
        let cases = [
            ("room for both", 10, 4, vec![loaded("a", 6, 0, 1)], evict(&[])),
            ("the oldest goes", 10, 4, vec![loaded("a", 4, 0, 2), loaded("b", 4, 0, 1)], evict(&["b"])),
            (
                "as many as needed",
                10,
                9,
                vec![loaded("a", 4, 0, 2), loaded("b", 4, 0, 1)],
                evict(&["b", "a"]),
            ),
            ("busy ones stay", 10, 4, vec![loaded("a", 4, 0, 9), loaded("b", 4, 1, 1)], evict(&["a"])),
            ("all busy", 10, 4, vec![loaded("a", 8, 2, 1)], Decision::Wait),
            ("never fits", 10, 11, vec![], Decision::Refuse),
            ("no budget", 0, 99, vec![loaded("a", 8, 0, 1)], evict(&[])),
            ("exactly fits", 10, 10, vec![loaded("a", 1, 0, 1)], evict(&["a"])),
        ];
        for (name, budget, needed, models, expected) in cases {
            assert_eq!(decide(budget, needed, &models), expected, "{name}");
        }
    }
}

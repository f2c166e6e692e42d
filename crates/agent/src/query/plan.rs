//! What a query will do, told before it begins.

use actionbooster_scheduler::ModelState;
use serde::Serialize;

use super::Question;
use super::part::Part;
use crate::inference::Inference;

/// The order of the models, and the time it should take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Plan {
    /// Whether all fit into memory together; else they are asked one after another.
    order: Order,
    /// Seconds until the last answer, from what was measured; absent when a model was never asked.
    estimate_s: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Parallel,
    Sequential,
}

/// Plans a query.
pub(super) async fn plan(inference: &Inference, question: &Question) -> Plan {
    let listing = inference.index.list().await;
    let states = inference.scheduler.states();
    let mut needs = 0_u64;
    let mut times = Vec::new();
    for Part { model: id, .. } in &question.parts {
        if let Some(model) = listing.models.get(id) {
            needs = needs.saturating_add(inference.index.memory_bytes(model.clone()).await.unwrap_or(0));
        }
        let loaded = matches!(states.get(id), Some((ModelState::Ready, _)));
        times.push(inference.latency.estimate(id, question.prompt.len(), question.max_tokens, loaded));
    }
    of(inference.scheduler.fits(needs), &times)
}

/// Models that compute together share the processor: together they take as long as one after another,
/// and save only the waiting.
fn of(together: bool, times: &[Option<f64>]) -> Plan {
    let sum = times.iter().copied().sum::<Option<f64>>();
    let order = if together { Order::Parallel } else { Order::Sequential };
    Plan { order, estimate_s: sum.map(|seconds| (seconds * 10.0).round() / 10.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_only_when_every_model_was_measured() {
        assert_eq!(
            of(true, &[Some(1.04), Some(2.0)]),
            Plan { order: Order::Parallel, estimate_s: Some(3.0) }
        );
        assert_eq!(of(false, &[Some(1.0), None]), Plan { order: Order::Sequential, estimate_s: None });
    }
}

//! What a query will do, told before it begins.

use actionbooster_models::Role;
use actionbooster_scheduler::ModelState;
use serde::Serialize;

use super::Question;
use super::part::Part;
use crate::inference::Inference;

/// The order of the models, and the time it should take. The summary's time is part of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Plan {
    /// Whether all fit into memory together; else they are asked one after another.
    order: Order,
    /// Seconds until the end, from what was measured; absent when a model was never asked.
    estimate_s: Option<f64>,
    /// The same without what earlier estimates were wrong by.
    #[serde(skip)]
    raw_s: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Parallel,
    Sequential,
}

impl Plan {
    /// The estimate without what earlier ones were wrong by.
    pub(super) const fn raw_estimate_s(&self) -> Option<f64> {
        self.raw_s
    }
}

/// Plans a query.
pub(super) async fn plan(inference: &Inference, question: &Question) -> Plan {
    let listing = inference.index.list().await;
    let states = inference.scheduler.states();
    let latency = &inference.latency;
    let mut needs = 0_u64;
    let mut times = Vec::new();
    for Part { model: id, .. } in &question.parts {
        if let Some(model) = listing.models.get(id) {
            needs = needs.saturating_add(inference.index.memory_bytes(model.clone()).await.unwrap_or(0));
        }
        let loaded = matches!(states.get(id), Some((ModelState::Ready, _)));
        times.push(latency.estimate(id, question.prompt.len(), question.max_tokens, loaded));
    }
    let writer = question.summary_model.clone().or_else(|| {
        let writes = |part: &&Part| part.role.is_some_and(can_write);
        question.parts.iter().find(writes).map(|part| part.model.clone())
    });
    if let Some(writer) = writer.filter(|_| question.parts.len() > 1) {
        // It reads the question and what the others will have said, and is loaded by then.
        let answers: usize = question.parts.iter().map(|part| latency.answer_bytes(&part.model)).sum();
        times.push(latency.estimate(&writer, question.prompt.len() + answers, question.max_tokens, true));
    }
    of(inference.scheduler.fits(needs), &times, latency.correction())
}

/// Whether a model of this role can write a summary.
pub(super) const fn can_write(role: Role) -> bool {
    matches!(role, Role::General | Role::Reasoning)
}

/// Models that compute together share the processor: together they take as long as one after another,
/// and save only the waiting. `correction`: how many times longer than told queries have taken.
fn of(together: bool, times: &[Option<f64>], correction: f64) -> Plan {
    let raw_s = times.iter().copied().sum::<Option<f64>>();
    let order = if together { Order::Parallel } else { Order::Sequential };
    let estimate_s = raw_s.map(|seconds| (seconds * correction * 10.0).round() / 10.0);
    Plan { order, estimate_s, raw_s }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_only_when_every_model_was_measured() {
        let plan = of(true, &[Some(1.04), Some(2.0)], 1.5);
        assert_eq!((plan.order, plan.estimate_s), (Order::Parallel, Some(4.6)));
        assert_eq!(plan.raw_estimate_s(), Some(3.04));
        let plan = of(false, &[Some(1.0), None], 1.0);
        assert_eq!((plan.order, plan.estimate_s), (Order::Sequential, None));
    }
}

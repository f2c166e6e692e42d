//! The context's memory: what a slot forgets, takes over from another slot, or moves to make room.

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::model::{LlamaModel, RopeType};
use llama_cpp_2::token::LlamaToken;

use crate::slot::{Slot, Work, common_prefix};

/// Tokens that are worth taking over, or waiting for, at least. Taking over copies the whole memory of a
/// sequence, which takes about as long as reading ten tokens.
const WORTH_SHARING: usize = 32;
/// Models whose cells cannot move although their positions are of the usual kind.
const IMMOVABLE: &[&str] = &["step35", "deepseek32", "deepseek4"];

/// What a model's memory can do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Abilities {
    /// A beginning may be copied from one sequence to another. Recurrent models have one state per sequence instead.
    pub(crate) shares: bool,
    /// Cells may get other positions.
    pub(crate) moves: bool,
}

impl Abilities {
    pub(crate) fn of(model: &LlamaModel, architecture: &str) -> Self {
        let shares = !model.is_recurrent() && !model.is_hybrid();
        let plain = matches!(model.rope_type(), Some(RopeType::Norm | RopeType::NeoX));
        Self { shares, moves: shares && plain && !IMMOVABLE.contains(&architecture) }
    }
}

/// The free slot for a prompt: the one whose conversation it goes on with, or else the one used least recently.
///
/// A slot that shares only a small part of what it remembers keeps its conversation: `shares` says that its
/// part can be taken over by another slot.
pub(crate) fn best_slot(slots: &[Slot], prompt: &[LlamaToken], shares: bool) -> Option<usize> {
    let free = || slots.iter().enumerate().filter(|(_, slot)| slot.work.is_none());
    let common = |slot: &Slot| common_prefix(slot.reusable(), prompt);
    let goes_on = |slot: &Slot| !shares || common(slot) * 2 >= slot.cached.len();
    free()
        .filter(|(_, slot)| common(slot) > 0 && goes_on(slot))
        .max_by_key(|(_, slot)| (common(slot), u64::MAX - slot.last_used))
        .or_else(|| free().min_by_key(|(_, slot)| slot.last_used))
        .map(|(index, _)| index)
}

/// Drops everything after the first `keep` tokens of a slot; returns how many were really kept.
pub(crate) fn forget_after(context: &mut LlamaContext<'_>, slot: &mut Slot, keep: usize) -> usize {
    let sequence = slot.sequence.cast_unsigned();
    slot.exact = usize::MAX;
    // Recurrent models cannot forget a part.
    let partial = context.clear_kv_cache_seq(Some(sequence), Some(keep as u32), None);
    if matches!(partial, Ok(true)) {
        slot.cached.truncate(keep);
        return keep;
    }
    if let Err(error) = context.clear_kv_cache_seq(Some(sequence), None, None) {
        tracing::error!(%error, "a sequence could not be cleared");
    }
    slot.cached.clear();
    0
}

/// Lets every slot that reads a prompt take over what another slot has read of the same beginning.
pub(crate) fn lend(context: &mut LlamaContext<'_>, slots: &mut [Slot]) {
    for reader in 0..slots.len() {
        let Some(work) = slots[reader].work.as_ref().filter(|work| !work.unread().is_empty()) else {
            continue;
        };
        let read = slots[reader].cached.len();
        // The last token is always read: its logits begin the answer.
        let most = work.prompt().len() - 1;
        let common = |slot: &Slot| common_prefix(slot.reusable(), work.prompt()).min(most);
        let lenders = slots.iter().enumerate().filter(|(index, _)| *index != reader);
        let Some((length, lender)) = lenders.map(|(index, slot)| (common(slot), index)).max() else {
            continue;
        };
        if length < read + WORTH_SHARING {
            continue;
        }
        let (from, to) = (slots[lender].sequence, slots[reader].sequence);
        // Sequences have memories of their own, and only whole ones can be copied (llama.cpp aborts otherwise).
        if let Err(error) = context.kv_cache_seq_cp(from, to, None, None) {
            tracing::error!(%error, "a beginning could not be shared");
            continue;
        }
        let taken = slots[lender].cached[read..length].to_vec();
        let slot = &mut slots[reader];
        slot.cached.extend(taken);
        if !matches!(
            context.clear_kv_cache_seq(Some(to.cast_unsigned()), Some(length as u32), None),
            Ok(true)
        ) {
            tracing::error!("the rest of a shared memory could not be forgotten");
        }
        if let Some(work) = &mut slot.work {
            work.take_over(length - read);
        }
    }
}

/// Whether another slot is reading what this slot would read next, so that waiting is cheaper than reading.
pub(crate) fn should_wait(slots: &[Slot], index: usize) -> bool {
    let reading = |slot: &'_ Slot| slot.work.as_ref().is_some_and(|work| !work.unread().is_empty());
    let Some(work) = slots[index].work.as_ref() else { return false };
    let read = slots[index].cached.len();
    slots.iter().enumerate().filter(|(other, slot)| *other != index && reading(slot)).any(|(other, slot)| {
        // One of two always goes on: the one that is ahead, or else the first.
        let ahead = slot.cached.len() > read || (slot.cached.len() == read && other < index);
        let prompt = slot.work.as_ref().map_or(&[][..], Work::prompt);
        ahead && common_prefix(prompt, work.prompt()) >= read + WORTH_SHARING
    })
}

/// Forgets the older half of what follows the first tokens. False when that gains too little.
pub(crate) fn make_room(context: &mut LlamaContext<'_>, slot: &mut Slot, context_tokens: usize) -> bool {
    let end = slot.cached.len();
    let prompt = slot.work.as_ref().map_or(0, |work| work.prompt().len());
    // The beginning of the prompt says what this is about.
    let keep = prompt.min(context_tokens / 4);
    let forgotten = end.saturating_sub(keep) / 2;
    if forgotten < context_tokens / 8 {
        return false;
    }
    let (from, to) = (keep as u32, (keep + forgotten) as u32);
    let distance = i32::try_from(forgotten).unwrap_or(0);
    let moved = context
        .kv_cache_seq_rm(slot.sequence, Some(from), Some(to))
        .and_then(|()| context.kv_cache_seq_add(slot.sequence, Some(to), Some(end as u32), -distance));
    if let Err(error) = moved {
        tracing::error!(%error, "the context's memory could not move");
        return false;
    }
    slot.cached.drain(keep..keep + forgotten);
    slot.exact = slot.exact.min(keep);
    true
}

#[cfg(test)]
mod tests {
    use super::{Slot, best_slot};
    use llama_cpp_2::token::LlamaToken;

    #[test]
    fn a_prompt_goes_to_its_conversation_or_to_the_slot_nobody_used_for_longest() {
        let tokens = |text: &str| text.bytes().map(|byte| LlamaToken(byte.into())).collect::<Vec<_>>();
        let slot = |text: &str, last_used| Slot { cached: tokens(text), last_used, ..Slot::new(0) };
        let slots = [slot("system: cats and dogs", 3), slot("", 0), slot("system: birds", 1)];
        for (prompt, shares, expected) in [
            ("system: cats and dogs. more", true, 0),
            ("system: birds and bees", true, 2),
            ("something else", true, 1),
            ("syntax", true, 1),
            ("syntax", false, 2),
        ] {
            assert_eq!(best_slot(&slots, &tokens(prompt), shares), Some(expected), "{prompt}");
        }
        assert_eq!(best_slot(&[], &tokens("x"), true), None);
    }
}

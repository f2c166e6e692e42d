//! The engine's thread: everything of llama.cpp lives and dies here.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::embed::Embedder;
use crate::options::{Description, KvType, Options};
use crate::request::Job;
use crate::stepper::{BATCH, Stepper};
use crate::{Error, backend};

/// Context when neither the owner nor the model says: enough for a conversation, small enough to fit.
const DEFAULT_CONTEXT: u32 = 4096;

/// Loads the model, tells what it is, and works until nobody can ask any more.
pub(crate) fn own(
    file: &Path,
    options: &Options,
    queue: &Receiver<Job>,
    ready: &SyncSender<Result<Description, Error>>,
) {
    let outcome = with_context(file, options, |model, context, embedder, description| {
        if ready.send(Ok(description.clone())).is_err() {
            return;
        }
        Stepper::new(model, context, embedder, &description, options).run(queue);
    });
    if let Err(error) = outcome {
        // Nobody waits any more when this fails.
        let _ = ready.send(Err(error));
    }
}

fn with_context(
    file: &Path,
    options: &Options,
    work: impl FnOnce(&LlamaModel, LlamaContext<'_>, Embedder<'_>, Description),
) -> Result<(), Error> {
    // Before any thread of ggml exists, so that all of them inherit it.
    pin(&options.cpus)?;
    let backend = backend::start(options.backends.as_deref())?;
    let model = LlamaModel::load_from_file(backend, file, &LlamaModelParams::default())
        .map_err(|_| Error::Load(file.display().to_string()))?;
    let per_slot = match options.context_tokens {
        0 => model.n_ctx_train().clamp(1, DEFAULT_CONTEXT),
        wanted => wanted,
    };
    let slots = if options.slots == 0 { 2 } else { options.slots };
    let (context, kv_type) = generation_context(backend, &model, options, per_slot, slots)?;
    let architecture = model.meta_val_str("general.architecture").unwrap_or_default();
    let causal = model.meta_val_str(&format!("{architecture}.attention.causal"));
    let description = Description {
        parameters: model.n_params(),
        context_tokens: per_slot,
        slots,
        has_chat_template: model.chat_template(None).is_ok(),
        embedding_length: u32::try_from(model.n_embd_out()).unwrap_or(0),
        vocabulary: u32::try_from(model.n_vocab()).unwrap_or(0),
        kv_type,
        flash_attention: options.flash_attention,
        generates: !causal.is_ok_and(|value| value == "false"),
        architecture,
    };
    let parameters = common_parameters(options, kv_type);
    let longest = per_slot.min(model.n_ctx_train().max(1));
    let embedder = Embedder::new(backend, &model, parameters, &description, longest as usize);
    work(&model, context, embedder, description);
    Ok(())
}

/// The context in which answers are made, and how its memory is really stored.
fn generation_context<'model>(
    backend: &LlamaBackend,
    model: &'model LlamaModel,
    options: &Options,
    per_slot: u32,
    slots: u32,
) -> Result<(LlamaContext<'model>, KvType), Error> {
    let make = |kv_type| {
        let parameters = common_parameters(options, kv_type)
            .with_n_ctx(NonZeroU32::new(per_slot.saturating_mul(slots)))
            .with_n_batch(BATCH as u32)
            .with_n_ubatch(BATCH as u32)
            .with_n_seq_max(slots)
            // In one common memory every request would look at what all the others remember, and skip it:
            // measured, that costs a third of the speed once a few conversations are remembered.
            .with_kv_unified(false);
        model.new_context(backend, parameters).map_err(|error| Error::Context {
            context: per_slot,
            slots,
            reason: error.to_string(),
        })
    };
    match make(options.kv_type) {
        Ok(context) => Ok((context, options.kv_type)),
        // The size of its heads, or attention that cannot be fused: f16 works with every model.
        Err(error) if options.kv_type != KvType::F16 => {
            tracing::warn!(%error, wanted = options.kv_type.name(), "this model's memory is stored as f16");
            Ok((make(KvType::F16)?, KvType::F16))
        }
        Err(error) => Err(error),
    }
}

/// What the contexts for answers and for embeddings have in common.
fn common_parameters(options: &Options, kv_type: KvType) -> LlamaContextParams {
    let threads = if options.threads > 0 { options.threads } else { processors(options) };
    let threads = i32::try_from(threads).unwrap_or(1);
    LlamaContextParams::default()
        .with_type_k(kv_type.ggml())
        .with_type_v(kv_type.ggml())
        .with_flash_attention_policy(options.flash_attention.policy())
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
}

fn pin(cpus: &[usize]) -> Result<(), Error> {
    if cpus.is_empty() {
        return Ok(());
    }
    let refused = |_| Error::Affinity(format!("{cpus:?}"));
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu).map_err(refused)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).map_err(refused)
}

fn processors(options: &Options) -> u32 {
    if !options.cpus.is_empty() {
        return options.cpus.len() as u32;
    }
    std::thread::available_parallelism().map_or(1, |count| count.get() as u32)
}

"""Trains the built-in guide and writes guide.gguf, manifest.toml and training-report.json beside this file.

    python train.py [--steps N] [--seed N] [--out DIR]

Repeatable: the same seed, versions and number of threads give the same file.
"""

import os

THREADS = 2
os.environ.setdefault("XLA_FLAGS", f"--xla_cpu_multi_thread_eigen=true intra_op_parallelism_threads={THREADS}")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import argparse
import functools
import hashlib
import json
import platform
import random
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import gguf
import model
from corpus import LANGUAGES, Corpus
from tokenizer import END, PAD, START, Tokenizer, learn

VOCABULARY = 2560
STEPS = 1300
# Matrices of the layers learn by Muon, everything else by Adam.
HIDDEN_RATE, RATE, WARM_UP = 0.02, 3e-3, 20
DECAY, DROPOUT, SMOOTHING, INTENT_SHARE = 0.1, 0.05, 0.02, 0.5
AVERAGE = 0.99
# Every other batch teaches only how the answer begins; the others teach answers to their end.
BRIEF = dict(batch=96, time=32, answer=10)
WHOLE = dict(batch=40, time=88, answer=80)
EXAM = dict(batch=64, time=128, answer=80)
TEMPLATE = (
    "{%- set ns = namespace(question='') -%}"
    "{%- for message in messages -%}{%- if message['role'] == 'user' -%}"
    "{%- set ns.question = message['content'] -%}{%- endif -%}{%- endfor -%}"
    "{{- '<|im_start|>user\\n ' + (ns.question | lower | trim) + '<|im_end|>\\n' -}}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def prompt_tokens(tokenizer, question, random=None):
    start, end = tokenizer.ids[START], tokenizer.ids[END]
    # Some programs know ChatML but not our template: then there is no space and no lower case.
    bare = random is not None and random.random() < 0.05
    said = "user\n" + (question[:1].upper() + question[1:] if bare else " " + question.lower())
    return [start, *tokenizer.encode(said), end, *tokenizer.encode("\n"), start, *tokenizer.encode("assistant\n")]


def example(tokenizer, prompt, answer, time, length, pad):
    """Tokens, and where and what the answer's tokens are predicted."""
    answer = [*tokenizer.encode(answer), tokenizer.ids[END]][: min(length, time - len(prompt) + 1)]
    tokens = (prompt + answer)[:time]
    places = list(range(len(prompt) - 1, len(prompt) - 1 + len(answer)))
    fill = length - len(answer)
    return (tokens + [pad] * (time - len(tokens)), places + [0] * fill, answer + [-1] * fill)


def batches(corpus, tokenizer, size, seed):
    chance, pad = random.Random(seed), tokenizer.ids[PAD]
    index = {name: number for number, name in enumerate(corpus.names)}
    while True:
        rows, intents = [], []
        while len(rows) < size["batch"]:
            text, name, language = corpus.question(chance)
            prompt = prompt_tokens(tokenizer, text, chance)
            if len(prompt) < size["time"] - 6:
                rows.append(example(tokenizer, prompt, corpus.answer(name, language), size["time"], size["answer"], pad))
                intents.append(index[name])
        yield (*(np.array(column, np.int32) for column in zip(*rows)), np.array(intents, np.int32))


def smooth_loss(logits, targets):
    known = targets >= 0
    likely = jax.nn.log_softmax(logits)
    right = jnp.take_along_axis(likely, jnp.maximum(targets, 0)[..., None], axis=-1)[..., 0]
    loss = -(1 - SMOOTHING) * right - SMOOTHING * likely.mean(axis=-1)
    return jnp.sum(loss * known) / jnp.sum(known)


def is_hidden(name):
    return name.startswith("blk.") and not name.endswith("_norm")


def orthogonal(slope):
    """Newton-Schulz iteration towards the nearest orthogonal matrix (Muon, Jordan and others, 2024)."""
    tall = slope.shape[0] > slope.shape[1]
    x = slope.T if tall else slope
    x = x / (jnp.linalg.norm(x) + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2,))
def step(shape, steps, state, batch, key):
    weights, average, first, second, count = state
    tokens, places, targets, intents = batch

    def loss(weights):
        logits, begin = model.answer_logits(weights, shape, tokens, places, key=key, dropout=DROPOUT)
        return smooth_loss(logits, targets) + INTENT_SHARE * smooth_loss(begin @ weights["intent"].T, intents)

    value, slopes = jax.value_and_grad(loss)(weights)
    count = count + 1
    # Up, level, and down to nothing over the last half.
    way = jnp.minimum(jnp.minimum(1.0, count / WARM_UP), jnp.minimum(1.0, 2 * (steps - count) / steps) + 0.01)

    def moved(name):
        weight, slope = weights[name], slopes[name]
        if is_hidden(name):
            momentum = 0.95 * first[name] + slope
            direction = orthogonal(slope + 0.95 * momentum) * max(1.0, slope.shape[0] / slope.shape[1]) ** 0.5
            return weight - way * HIDDEN_RATE * (direction + DECAY * weight), momentum, second[name]
        momentum = 0.9 * first[name] + 0.1 * slope
        variance = 0.98 * second[name] + 0.02 * slope**2
        direction = momentum / (1 - 0.9**count) / (jnp.sqrt(variance / (1 - 0.98**count)) + 1e-8)
        return weight - way * RATE * direction, momentum, variance

    parts = {name: moved(name) for name in weights}
    weights, first, second = ({name: part[index] for name, part in parts.items()} for index in range(3))
    average = {name: AVERAGE * average[name] + (1 - AVERAGE) * weights[name] for name in weights}
    return (weights, average, first, second, count), value


@functools.partial(jax.jit, static_argnums=(0,))
def exact(shape, weights, tokens, places, targets):
    logits, _ = model.answer_logits(weights, shape, tokens, places)
    right = (jnp.argmax(logits, axis=-1) == targets) | (targets < 0)
    return jnp.all(right, axis=-1), jnp.all(right[:, : BRIEF["answer"]], axis=-1)


def evaluate(shape, weights, corpus, tokenizer):
    """Share of held-back questions whose whole answer greedy decoding gives exactly, and what went wrong."""
    asked, pad = list(corpus.questions()), tokenizer.ids[PAD]
    rows = [
        example(tokenizer, prompt_tokens(tokenizer, q["prompt"]), corpus.answer(q["intent"], q["language"]),
                EXAM["time"], EXAM["answer"], pad)
        for q in asked
    ]
    right, begun = [], []
    for at in range(0, len(rows), EXAM["batch"]):
        part = (rows[at : at + EXAM["batch"]] + [rows[0]] * EXAM["batch"])[: EXAM["batch"]]
        tokens, places, targets = (np.array(column, np.int32) for column in zip(*part))
        for marks, part in zip((right, begun), exact(shape, weights, tokens, places, targets)):
            marks += np.asarray(part).tolist()
    scores = {}
    for language in LANGUAGES:
        for kind in ("known", "unknown"):
            own = [i for i, q in enumerate(asked)
                   if q["language"] == language and (q["intent"] == "unknown") == (kind == "unknown")]
            scores[f"{kind}_{language}"] = round(sum(right[i] for i in own) / len(own), 4)
            scores[f"{kind}_{language}_begun"] = round(sum(begun[i] for i in own) / len(own), 4)
    return scores, [q for q, ok in zip(asked, right) if not ok]


def vocabulary(corpus, seed):
    chance = random.Random(seed)
    answers = [corpus.answer(name, language) for name in corpus.names for language in LANGUAGES]
    asked = (corpus.question(chance) for _ in range(30000))
    texts = [" " + text.lower() for text, name, _ in asked if name != "unknown"]
    return learn(texts + answers * 3 + ["user\n", "assistant\n"] * 1000, VOCABULARY)


def metadata(shape, tokenizer):
    return {
        "general.architecture": "llama",
        "general.name": "ActionBooster guide",
        "general.license": "mit",
        "general.languages": list(LANGUAGES),
        "general.file_type": 7,
        "general.quantization_version": 2,
        "llama.block_count": shape.layers,
        "llama.context_length": shape.context,
        "llama.embedding_length": shape.width,
        "llama.feed_forward_length": shape.hidden,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.heads,
        "llama.attention.layer_norm_rms_epsilon": float(model.EPSILON),
        "llama.rope.dimension_count": shape.head,
        "llama.rope.freq_base": model.ROPE_BASE,
        "llama.vocab_size": shape.vocabulary,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokenizer.tokens,
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (len(tokenizer.tokens) - 3),
        "tokenizer.ggml.merges": [f"{a} {b}" for a, b in tokenizer.merges],
        "tokenizer.ggml.bos_token_id": tokenizer.ids[START],
        "tokenizer.ggml.eos_token_id": tokenizer.ids[END],
        "tokenizer.ggml.eot_token_id": tokenizer.ids[END],
        "tokenizer.ggml.padding_token_id": tokenizer.ids[PAD],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


MANIFEST = """\
id = "guide"
name = "Guide"
file = "guide.gguf"
sha256 = "{sha256}"
size_bytes = {size}
licence = "MIT"
languages = ["en", "es"]
roles = ["guide"]
context_tokens = {context}
declines = {declines}

[description]
en = "A {millions}-million-parameter guide that only knows this appliance's manual. Made by the project; it says so when it does not know."
es = "Una guía de {millions} millones de parámetros que solo conoce el manual de este aparato. Hecha por el proyecto; avisa cuando no sabe algo."

[sampling]
temperature = 0.0
"""


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--steps", type=int, default=STEPS)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = arguments.parse_args()
    began = time.monotonic()
    corpus = Corpus()
    tokenizer = vocabulary(corpus, options.seed)
    shape = model.Shape(vocabulary=len(tokenizer.tokens), intents=len(corpus.names))
    weights = {name: jnp.asarray(array) for name, array in model.create(shape, options.seed).items()}
    parameters = sum(array.size for name, array in weights.items() if name != "intent")
    longest = max(len(tokenizer.encode(corpus.answer(n, l))) for n in corpus.names for l in LANGUAGES)
    print(f"{len(corpus.names)} intents, {len(tokenizer.tokens)} tokens, {parameters:,} parameters, "
          f"longest answer {longest} tokens, ready after {time.monotonic() - began:.0f} s", flush=True)
    assert longest < WHOLE["answer"], "an answer is longer than training looks"
    zeros = lambda: {name: jnp.zeros_like(array) for name, array in weights.items()}
    copy = {name: jnp.array(array) for name, array in weights.items()}
    state = (weights, copy, zeros(), zeros(), jnp.zeros((), jnp.float32))
    brief = batches(corpus, tokenizer, BRIEF, options.seed)
    whole = batches(corpus, tokenizer, WHOLE, options.seed + 1)
    key, recent = jax.random.PRNGKey(options.seed), []
    for number in range(options.steps):
        batch = next(whole if number % 2 == 0 else brief)
        state, loss = step(shape, options.steps, state, batch, jax.random.fold_in(key, number))
        recent.append(float(loss))
        if number % 25 == 24:
            print(f"step {number + 1}: loss {np.mean(recent[-25:]):.3f}, {time.monotonic() - began:.0f} s", flush=True)
        if number % 200 == 199:
            print("  held back:", evaluate(shape, state[1], corpus, tokenizer)[0], flush=True)
    trained = {name: np.asarray(array) for name, array in state[1].items() if name != "intent"}
    tensors = {f"{name}.weight": array for name, array in trained.items()}
    path = options.out / "guide.gguf"
    gguf.write(path, metadata(shape, tokenizer), tensors)
    seen = {name: jnp.asarray(gguf.rounded(array) if array.ndim == 2 else array) for name, array in trained.items()}
    scores, wrong = evaluate(shape, seen, corpus, tokenizer)
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    (options.out / "manifest.toml").write_text(MANIFEST.format(
        sha256=digest, size=len(data), context=shape.context, millions=round(parameters / 1e6),
        declines=json.dumps([corpus.answer("unknown", language) for language in LANGUAGES], ensure_ascii=False)),
        encoding="utf-8")
    report = {
        "sha256": digest, "size_bytes": len(data), "parameters": parameters, "seed": options.seed,
        "steps": options.steps, "seconds": round(time.monotonic() - began), "threads": THREADS,
        "versions": {"python": platform.python_version(), "jax": jax.__version__, "numpy": np.__version__},
        "intents": len(corpus.names) - 1, "held_back_questions": len(list(corpus.questions())),
        "held_back_exact": scores, "missed": [f"{q['id']}: {q['prompt']}" for q in wrong],
    }
    (options.out / "training-report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n",
                                                      encoding="utf-8")
    print(json.dumps(scores))


if __name__ == "__main__":
    main()

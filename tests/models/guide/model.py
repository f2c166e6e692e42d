"""A llama-architecture transformer in JAX: RMS norms, rotary positions in neighbouring pairs, gated SiLU."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

EPSILON = 1e-5
ROPE_BASE = 10000.0


@dataclass(frozen=True)
class Shape:
    vocabulary: int
    intents: int
    width: int = 256
    layers: int = 3
    heads: int = 4
    hidden: int = 640
    context: int = 1024

    @property
    def head(self):
        return self.width // self.heads


def create(shape, seed):
    """Weights as `name -> array`, matrices as (outputs, inputs). `intent` only helps training."""
    random = np.random.default_rng(seed)

    def matrix(rows, columns, scale):
        return (random.standard_normal((rows, columns)) * scale).astype(np.float32)

    width, hidden, inner = shape.width, shape.hidden, shape.width**-0.5
    weights = {"token_embd": matrix(shape.vocabulary, width, 0.05), "output_norm": np.ones(width, np.float32)}
    for layer in range(shape.layers):
        for name in ("attn_q", "attn_k", "attn_v"):
            weights[f"blk.{layer}.{name}"] = matrix(width, width, inner)
        weights[f"blk.{layer}.attn_output"] = matrix(width, width, inner / shape.layers)
        weights[f"blk.{layer}.ffn_gate"] = matrix(hidden, width, inner)
        weights[f"blk.{layer}.ffn_up"] = matrix(hidden, width, inner)
        weights[f"blk.{layer}.ffn_down"] = matrix(width, hidden, hidden**-0.5 / shape.layers)
        weights[f"blk.{layer}.attn_norm"] = np.ones(width, np.float32)
        weights[f"blk.{layer}.ffn_norm"] = np.ones(width, np.float32)
    weights["intent"] = matrix(shape.intents, width, inner)
    return weights


def norm(x, weight):
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + EPSILON) * weight


def rotate(x, angles):
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)


def hidden_states(weights, shape, tokens, key=None, dropout=0.0):
    """(batch, time) tokens -> (batch, time, width) states after the last norm."""
    batch, time = tokens.shape
    angles = jnp.arange(time)[:, None] * ROPE_BASE ** (-jnp.arange(0, shape.head, 2) / shape.head)
    mask = jnp.tril(jnp.ones((time, time), bool))

    def drop(x, number):
        if key is None:
            return x
        keep = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - dropout, x.shape)
        return x * keep / (1 - dropout)

    x = drop(weights["token_embd"][tokens], 0)
    for layer in range(shape.layers):
        own = lambda name: weights[f"blk.{layer}.{name}"]
        y = norm(x, own("attn_norm"))
        split = lambda name: (y @ own(name).T).reshape(batch, time, shape.heads, shape.head)
        q, k, v = rotate(split("attn_q"), angles), rotate(split("attn_k"), angles), split("attn_v")
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * shape.head**-0.5
        mix = jax.nn.softmax(jnp.where(mask, scores, -1e9), axis=-1)
        attended = jnp.einsum("bhqk,bkhd->bqhd", mix, v).reshape(batch, time, shape.width)
        x = x + drop(attended @ own("attn_output").T, 2 * layer + 1)
        y = norm(x, own("ffn_norm"))
        gated = jax.nn.silu(y @ own("ffn_gate").T) * (y @ own("ffn_up").T)
        x = x + drop(gated @ own("ffn_down").T, 2 * layer + 2)
    return norm(x, weights["output_norm"])


def answer_logits(weights, shape, tokens, places, **rest):
    """Logits at `places` (batch, n), and the state at the first of them."""
    states = hidden_states(weights, shape, tokens, **rest)
    chosen = jnp.take_along_axis(states, places[:, :, None], axis=1)
    return chosen @ weights["token_embd"].T, chosen[:, 0]

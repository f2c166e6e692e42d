"""Writes a GGUF of the shape of Qwen2.5-0.5B with random weights: what speed needs, without anybody's model.

Usage: python model.py q4_0|q8_0 FILE

Shape: 24 layers of 896, 14 heads over 2 key/value heads, feed-forward 4864, vocabulary 151,936, output
tied to the embedding. Matrices have the chosen type, the embedding is Q8_0 as in the original's files.
Weights repeat with a period that no row length divides; the rows of the control tokens are zero, so
that no text ever ends by itself.
"""

import random
import struct
import sys

LAYERS, HIDDEN, HEADS, KV_HEADS, FORWARD, VOCABULARY = 24, 896, 14, 2, 4864, 151_936
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
U32, I32, F32, STRING, ARRAY = 4, 5, 6, 8, 9
ALIGNMENT = 32
# ggml's number of the type, bytes of a block, elements of a block, scale as half-precision bits.
F32_TYPE, Q4_0, Q8_0 = (0, 4, 1, None), (2, 18, 32, 0x1F00), (8, 34, 32, 0x0F80)
PERIOD = 65_537


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(item):
    if isinstance(item, int):
        return struct.pack("<II", U32, item)
    if isinstance(item, float):
        return struct.pack("<If", F32, item)
    if isinstance(item, str):
        return struct.pack("<I", STRING) + text(item)
    kind = STRING if isinstance(item[0], str) else I32
    body = b"".join(text(each) if kind == STRING else struct.pack("<i", each) for each in item)
    return struct.pack("<IIQ", ARRAY, kind, len(item)) + body


def byte_tokens():
    """GPT-2's printable stand-ins of the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stands = {byte: chr(byte) for byte in printable}
    for index, byte in enumerate(byte for byte in range(256) if byte not in stands):
        stands[byte] = chr(256 + index)
    return [stands[byte] for byte in range(256)]


def metadata():
    tokens = byte_tokens()
    tokens += [f"Ġw{number}" for number in range(VOCABULARY - len(tokens) - len(CONTROL))] + CONTROL
    first_control = VOCABULARY - len(CONTROL)
    return {
        "general.architecture": "qwen2",
        "general.name": "random weights",
        "qwen2.block_count": LAYERS,
        "qwen2.context_length": 32_768,
        "qwen2.embedding_length": HIDDEN,
        "qwen2.feed_forward_length": FORWARD,
        "qwen2.attention.head_count": HEADS,
        "qwen2.attention.head_count_kv": KV_HEADS,
        "qwen2.rope.freq_base": 1_000_000.0,
        "qwen2.attention.layer_norm_rms_epsilon": 1e-6,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * first_control + [3] * len(CONTROL),
        # The loader wants the key; these two tokens never meet.
        "tokenizer.ggml.merges": ["Ā ā"],
        "tokenizer.ggml.eos_token_id": first_control + 2,
        "tokenizer.ggml.padding_token_id": first_control,
        "tokenizer.chat_template": TEMPLATE,
    }


def tensors(kind):
    """Name, type, shape (rows last, as GGUF writes it) and what fills it."""
    key_value = HIDDEN // HEADS * KV_HEADS
    yield "token_embd.weight", Q8_0, (HIDDEN, VOCABULARY), "embedding"
    yield "output_norm.weight", F32_TYPE, (HIDDEN,), 1.0
    for layer in range(LAYERS):
        name = f"blk.{layer}."
        yield name + "attn_norm.weight", F32_TYPE, (HIDDEN,), 1.0
        for part, size in (("q", HIDDEN), ("k", key_value), ("v", key_value)):
            yield f"{name}attn_{part}.weight", kind, (HIDDEN, size), "random"
            yield f"{name}attn_{part}.bias", F32_TYPE, (size,), 0.0
        yield name + "attn_output.weight", kind, (HIDDEN, HIDDEN), "random"
        yield name + "ffn_norm.weight", F32_TYPE, (HIDDEN,), 1.0
        yield name + "ffn_gate.weight", kind, (HIDDEN, FORWARD), "random"
        yield name + "ffn_up.weight", kind, (HIDDEN, FORWARD), "random"
        yield name + "ffn_down.weight", kind, (FORWARD, HIDDEN), "random"


def size_of(kind, shape):
    _, bytes_, elements, _ = kind
    count = 1
    for size in shape:
        count *= size
    return count // elements * bytes_


class Weights:
    """An endless tape of blocks, the same in every run."""

    def __init__(self, kind):
        _, bytes_, _, scale = kind
        source = random.Random(7)
        head = struct.pack("<H", scale)
        self.tape = b"".join(head + source.randbytes(bytes_ - 2) for _ in range(PERIOD))
        self.at = 0

    def take(self, length):
        while length:
            piece = self.tape[self.at : self.at + length]
            self.at = (self.at + len(piece)) % len(self.tape)
            length -= len(piece)
            yield piece


def main(arguments):
    if len(arguments) != 2 or arguments[0] not in ("q4_0", "q8_0"):
        print(__doc__.strip(), file=sys.stderr)
        return 64
    kind = Q4_0 if arguments[0] == "q4_0" else Q8_0
    pairs = b"".join(text(name) + value(item) for name, item in metadata().items())
    table, offset, plan = b"", 0, list(tensors(kind))
    for name, own, shape, _ in plan:
        table += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        table += struct.pack("<IQ", own[0], offset)
        offset += -(-size_of(own, shape) // ALIGNMENT) * ALIGNMENT
    head = b"GGUF" + struct.pack("<IQQ", 3, len(plan), len(metadata())) + pairs + table
    tapes = {own: Weights(own) for own in {Q8_0, kind}}
    with open(arguments[1], "wb") as file:
        file.write(head + b"\0" * (-len(head) % ALIGNMENT))
        for _, own, shape, filling in plan:
            size = size_of(own, shape)
            if isinstance(filling, float):
                file.write(struct.pack("<f", filling) * shape[0])
            else:
                silent = size_of(own, (shape[0], len(CONTROL))) if filling == "embedding" else 0
                for piece in tapes[own].take(size - silent):
                    file.write(piece)
                file.write(b"\0" * silent)
            file.write(b"\0" * (-size % ALIGNMENT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

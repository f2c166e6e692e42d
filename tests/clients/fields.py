"""Prints every field that the official clients know, with values of its type, as JSON.

Usage: python fields.py > ../../crates/agent/test_data/fields.json

Run it when requirements.txt names newer clients: the agent's tests send each row and know which of them it
refuses. A row is [path, body]; every body differs from the smallest one in one field.
"""

import json
import re
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence

import ollama._types as ollama
import typing_extensions
from anthropic.types import message_create_params
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params
from pydantic import BaseModel

MODEL = "none"
TURN = [{"role": "user", "content": "x"}]
# What is nested deeper is given once, not with every value it may have.
DEPTH = 4
REQUIRED = (typing.Required, typing_extensions.Required)
# What only its maker runs: tools with a date in their name, and these of OpenAI's responses. Given once.
DATED = re.compile(r"\d{8}Param$")
HOSTED = re.compile(
    r"apply_patch|code_interpreter|computer|file_search|image_gen|mcp|program|shell|tool_search|web_search"
)


def fields(kind):
    """Names, types and whether they are required, of a typed dictionary or a model."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [(name, field.annotation, field.is_required()) for name, field in kind.model_fields.items()]
    hints = typing.get_type_hints(kind, include_extras=True)
    origins = {name: typing.get_origin(of) for name, of in hints.items()}
    needed = {name: kind.__total__ or origin in REQUIRED for name, origin in origins.items()}
    return [(name, of, needed[name]) for name, of in hints.items()]


def values_of(name, kind, depth):
    """Values of a field: every server wants a role that it knows."""
    return ["user"] if (name, kind) == ("role", str) else values(kind, depth)


def values(kind, depth=0):
    """Values of a type: the first is the plainest."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is type(None):
        return [None]
    if kind is bool:
        return [True, False]
    if kind is int:
        return [1]
    if kind is float:
        return [0.5, 1]
    if kind is str:
        return ["x", ""]
    if origin in (typing.Union, types.UnionType):
        return [value for part in inner for value in values(part, depth)]
    if origin is typing.Literal:
        return list(inner)
    if origin in (*REQUIRED, typing.NotRequired, typing_extensions.NotRequired, typing.Annotated):
        return values(inner[0], depth)
    if origin in (list, Iterable, Sequence):
        return [[value] for value in values(inner[0], depth + 1)] + [[]]
    if origin in (dict, Mapping):
        return [{"x": value} for value in values(inner[1], depth + 1)] + [{}]
    if isinstance(kind, type) and (hasattr(kind, "__required_keys__") or issubclass(kind, BaseModel)):
        return objects(kind, depth + 1)
    return [{}]


def objects(kind, depth):
    """One with what is required, then one for every value of each field."""
    known = fields(kind)
    plain = {name: values_of(name, of, DEPTH)[0] for name, of, required in known if required}
    if DATED.search(kind.__name__) or HOSTED.match(str(plain.get("type"))):
        return [plain]
    if depth >= DEPTH:
        return [plain]
    more = [{**plain, name: value} for name, of, _ in known for value in values_of(name, of, depth)]
    return [plain, *more]


def rows(path, kind, plain, but=()):
    """The bodies of a request."""
    for name, of, _ in fields(kind):
        if name in plain and name in ("model", "max_tokens", "source", "destination") or name in but:
            continue
        for value in values(of):
            yield [path, {**plain, name: value}]


def table():
    model = {"model": MODEL}
    chat = chat_create_params.CompletionCreateParamsBase
    yield from rows("/v1/chat/completions", chat, {**model, "messages": TURN})
    yield from rows("/v1/completions", completion_create_params.CompletionCreateParamsBase, {**model, "prompt": "x"})
    yield from rows("/v1/embeddings", embedding_create_params.EmbeddingCreateParams, {**model, "input": "x"})
    responses = response_create_params.ResponseCreateParamsBase
    for path, body in rows("/v1/responses", responses, {**model, "input": "x"}):
        # Most items are no question.
        asked = isinstance(body["input"], list) and body["input"]
        yield [path, {**body, "input": TURN + body["input"]} if asked else body]
    messages = message_create_params.MessageCreateParamsBase
    yield from rows("/v1/messages", messages, {**model, "max_tokens": 1, "messages": TURN})
    yield from rows("/api/chat", ollama.ChatRequest, {**model, "messages": TURN})
    yield from rows("/api/generate", ollama.GenerateRequest, {**model, "prompt": "x"})
    yield from rows("/api/embed", ollama.EmbedRequest, {**model, "input": "x"})
    yield from rows("/api/embeddings", ollama.EmbeddingsRequest, {**model, "prompt": "x"})
    yield from rows("/api/pull", ollama.PullRequest, model)


def main():
    lines = dict.fromkeys(json.dumps(row, default=str) for row in table())
    sys.stdout.write("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()

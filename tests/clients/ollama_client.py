"""Checks with the official `ollama` package."""

import json

import ollama

from box import equal, raises

QUESTION = [{"role": "user", "content": "What is ActionBooster?"}]
EXACT = {"temperature": 0, "num_predict": 24}


def models_are_told(box):
    """ollama: models are listed and shown with what they are."""
    client = box.ollama()
    names = [model.model for model in client.list().models]
    assert box.model() in names, names
    shown = client.show(box.model())
    equal(shown.details.format, "gguf", "format")
    assert "completion" in shown.capabilities, shown.capabilities
    assert shown.modelinfo["general.architecture"], shown.modelinfo


def a_chat_streams(box):
    """ollama: a chat streams the same answer that comes whole, with counts and durations."""
    client, model = box.ollama(), box.model()
    whole = client.chat(model, messages=QUESTION, options=EXACT)
    pieces = list(client.chat(model, messages=QUESTION, options=EXACT, stream=True))
    equal("".join(piece.message.content for piece in pieces), whole.message.content, "text")
    assert pieces[-1].done and pieces[-1].eval_count == whole.eval_count, pieces[-1]
    assert whole.total_duration > whole.eval_duration > 0, whole
    running = [model.model for model in client.ps().models]
    assert model in running, running


def a_prompt_is_answered(box):
    """ollama: generate answers, and makes JSON of a schema."""
    client, model = box.ollama(), box.model()
    done = client.generate(model + ":latest", prompt=QUESTION[0]["content"], options=EXACT)
    assert done.response.strip() and done.done_reason in ("stop", "length"), done
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }
    done = client.generate(model, prompt="Is it?", format=schema, options={"temperature": 0, "num_predict": 64})
    assert isinstance(json.loads(done.response)["yes"], bool), done.response


def texts_become_vectors(box):
    """ollama: embed makes a vector of length one for every text."""
    done = box.ollama().embed(box.model(), input=["one text", "another"])
    equal(len(done.embeddings), 2, "vectors")
    length = sum(value * value for value in done.embeddings[0])
    assert abs(length - 1) < 1e-3, length


def mistakes_are_told(box):
    """ollama: an unknown model is a 404 that names close ones."""
    error = raises(ollama.ResponseError, lambda: box.ollama().chat("gide", messages=QUESTION))
    equal(error.status_code, 404, "status")
    assert "guide" in error.error, error.error


CHECKS = [models_are_told, a_chat_streams, a_prompt_is_answered, texts_become_vectors, mistakes_are_told]

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


def nothing_to_embed_is_no_mistake(box):
    """ollama: an empty text or list loads the model and gives no vector."""
    for nothing in ("", []):
        equal(list(box.ollama().embed(box.model(), input=nothing).embeddings), [], f"vectors of {nothing!r}")


def a_model_may_stay_for_ever(box):
    """ollama: a model that is kept for ever is listed with a time that the client can read."""
    client, model = box.ollama(), box.model()
    client.generate(model, keep_alive=-1)
    until = [running.expires_at.year for running in client.ps().models if running.model == model]
    client.generate(model, keep_alive="5m")
    assert until and until[0] > 2200, until


def both_names_of_the_field_are_read(box):
    """ollama: `name` and `model` together, as its Go client sends them, are read."""
    model = box.model()
    for path in ("/api/show", "/api/pull"):
        reply = box.send("POST", path, {"name": model, "model": model, "stream": False})
        equal(reply.status, 200, f"status of {path}")


def mistakes_are_told(box):
    """ollama: an unknown model is a 404 that names close ones."""
    error = raises(ollama.ResponseError, lambda: box.ollama().chat("gide", messages=QUESTION))
    equal(error.status_code, 404, "status")
    assert "guide" in error.error, error.error


CHECKS = [
    models_are_told,
    a_chat_streams,
    a_prompt_is_answered,
    texts_become_vectors,
    nothing_to_embed_is_no_mistake,
    a_model_may_stay_for_ever,
    both_names_of_the_field_are_read,
    mistakes_are_told,
]

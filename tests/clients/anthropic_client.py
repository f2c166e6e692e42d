"""Checks with the official `anthropic` package."""

import anthropic

from box import equal, raises

QUESTION = [{"role": "user", "content": "What is ActionBooster?"}]


def a_message_is_answered(box):
    """anthropic: a message carries text, reason and usage."""
    done = box.anthropic().messages.create(model=box.model(), max_tokens=64, messages=QUESTION)
    assert done.content[0].text.strip(), done
    assert done.stop_reason in ("end_turn", "max_tokens"), done.stop_reason
    assert done.usage.output_tokens > 0, done.usage


def a_message_streams(box):
    """anthropic: a streamed message is the same text."""
    client, model = box.anthropic(), box.model()
    whole = client.messages.create(model=model, max_tokens=24, messages=QUESTION)
    with client.messages.stream(model=model, max_tokens=24, messages=QUESTION) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    equal(text, whole.content[0].text, "text")
    equal(final.stop_reason, whole.stop_reason, "stop_reason")


def a_tool_is_called(box):
    """anthropic: a tool that has to be called is called with input of its schema."""
    schema = {
        "type": "object",
        "properties": {"service": {"enum": ["agent", "worker"]}},
        "required": ["service"],
        "additionalProperties": False,
    }
    done = box.anthropic().messages.create(
        model=box.model(),
        max_tokens=400,
        messages=QUESTION,
        tools=[{"name": "restart", "description": "Restarts a service.", "input_schema": schema}],
        tool_choice={"type": "tool", "name": "restart"},
    )
    equal(done.stop_reason, "tool_use", "stop_reason")
    call = done.content[0]
    equal((call.type, call.name), ("tool_use", "restart"), "block")
    assert call.input["service"] in ("agent", "worker"), call.input


def models_are_listed(box):
    """anthropic: the models are listed with their names and how much they read."""
    client = box.anthropic()
    for model in client.models.list():
        equal((model.type, client.models.retrieve(model.id).id), ("model", model.id), "model")
        assert model.display_name and model.created_at.year > 2000, model
        assert model.max_input_tokens > 0, model


def tokens_are_counted_beforehand(box):
    """anthropic: count_tokens tells a number, and a stream begins with the same one."""
    client, model = box.anthropic(), box.model()
    counted = client.messages.count_tokens(model=model, messages=QUESTION).input_tokens
    assert counted > 0, counted
    more = client.messages.count_tokens(model=model, system="Be brief.", messages=QUESTION).input_tokens
    assert more > counted, (more, counted)
    with client.messages.create(model=model, max_tokens=4, messages=QUESTION, stream=True) as events:
        first = next(iter(events))
    equal(first.message.usage.input_tokens, counted, "input_tokens of message_start")


def too_long_a_prompt_is_refused(box):
    """anthropic: a prompt longer than the context is told in the words that agents shorten it by."""
    long = [{"role": "user", "content": "word " * 200_000}]
    ask = {"model": box.model(), "max_tokens": 5, "messages": long}
    error = raises(anthropic.BadRequestError, lambda: box.anthropic().messages.create(**ask))
    assert "prompt is too long: " in str(error), error


def mistakes_are_told(box):
    """anthropic: an unknown model is a 404, a missing key a 401."""
    ask = {"model": "gide", "max_tokens": 5, "messages": QUESTION}
    error = raises(anthropic.NotFoundError, lambda: box.anthropic().messages.create(**ask))
    assert "guide" in str(error), error
    raises(anthropic.AuthenticationError, lambda: box.anthropic(key="ab_wrong").messages.create(**ask))


CHECKS = [
    a_message_is_answered,
    a_message_streams,
    a_tool_is_called,
    models_are_listed,
    tokens_are_counted_beforehand,
    too_long_a_prompt_is_refused,
    mistakes_are_told,
]

"""Checks of OpenAI's Responses API with the official `openai` package."""

import json

import openai
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from box import equal, raises

QUESTION = "What is ActionBooster?"
KNOWN = TypeAdapter(ResponseStreamEvent)


class Restart(BaseModel):
    """The shape of an answer."""

    ok: bool


def a_response_is_answered(box):
    """responses: a response carries text and usage, and is kept until it is deleted."""
    client, model = box.openai(), box.model()
    done = client.responses.create(model=model, input=QUESTION, temperature=0)
    equal((done.status, done.error), ("completed", None), "status")
    assert done.output_text.strip(), "the answer is empty"
    equal(done.usage.total_tokens, done.usage.input_tokens + done.usage.output_tokens, "total")
    equal(client.responses.retrieve(done.id).output_text, done.output_text, "text that is kept")
    client.responses.delete(done.id)
    error = raises(openai.NotFoundError, lambda: client.responses.retrieve(done.id))
    assert done.id in error.message, error.message


def a_response_streams_events_that_the_client_knows(box):
    """responses: a stream has the client's own events, in order, and the whole response at its end."""
    client, model = box.openai(), box.model()
    whole = client.responses.create(model=model, input=QUESTION, temperature=0, store=False)
    events = list(client.responses.create(model=model, input=QUESTION, temperature=0, store=False, stream=True))
    for event in events:
        KNOWN.validate_python(event.model_dump(mode="json", by_alias=True, exclude_unset=True))
    equal([event.sequence_number for event in events], list(range(len(events))), "numbers")
    kinds = [event.type for event in events]
    equal(kinds[:3], ["response.created", "response.in_progress", "response.output_item.added"], "first events")
    equal(kinds[-2:], ["response.output_item.done", "response.completed"], "last events")
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    equal(said, whole.output_text, "text")
    equal(events[-1].response.output_text, said, "text at the end")
    with client.responses.stream(model=model, input=QUESTION, temperature=0) as stream:
        equal(stream.get_final_response().output_text, said, "text that the client put together")


def a_conversation_goes_on(box):
    """responses: a conversation goes on by the id of its last response, and by items of it."""
    client, model = box.openai(), box.model()
    first = client.responses.create(model=model, input=QUESTION, instructions="Be brief.", temperature=0)
    by_id = client.responses.create(model=model, input="And then?", previous_response_id=first.id, temperature=0)
    turns = [{"role": "user", "content": QUESTION}, *first.output, {"role": "user", "content": "And then?"}]
    by_items = client.responses.create(model=model, input=turns, temperature=0)
    equal(by_id.output_text, by_items.output_text, "text")
    unknown = {"model": model, "input": QUESTION, "previous_response_id": "resp_unknown"}
    error = raises(openai.BadRequestError, lambda: client.responses.create(**unknown))
    equal(error.code, "previous_response_not_found", "code")


def a_tool_is_called(box):
    """responses: functions and custom tools that have to be called are called, streamed or not."""
    client, model = box.openai(), box.model()
    parameters = {
        "type": "object",
        "properties": {"service": {"type": "string", "enum": ["agent", "worker"]}},
        "required": ["service"],
        "additionalProperties": False,
    }
    function = {"type": "function", "name": "restart", "parameters": parameters, "strict": True}
    tools = [function, {"type": "custom", "name": "run"}, {"type": "web_search"}]
    ask = {"model": model, "input": QUESTION, "tools": tools, "max_output_tokens": 400}
    done = client.responses.create(**ask, tool_choice={"type": "function", "name": "restart"})
    call = done.output[-1]
    equal((call.type, call.name), ("function_call", "restart"), "call")
    assert json.loads(call.arguments)["service"] in ("agent", "worker"), call
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
    client.responses.create(model=model, input=[result], previous_response_id=done.id, tools=tools)
    events = list(client.responses.create(**ask, tool_choice={"type": "custom", "name": "run"}, stream=True))
    for event in events:
        KNOWN.validate_python(event.model_dump(mode="json", by_alias=True, exclude_unset=True))
    # A text without a schema may fill all the room there is.
    last = events[-1]
    assert last.type == "response.incomplete" or last.response.output[-1].type == "custom_tool_call", last


def answers_have_the_shape_asked_for(box):
    """responses: a parsed response is of the model's class."""
    done = box.openai().responses.parse(
        model=box.model(), input=QUESTION, text_format=Restart, max_output_tokens=64
    )
    assert isinstance(done.output_parsed, Restart), done


def what_cannot_be_read_is_refused(box):
    """responses: pictures, answers that come later and prompts that are too long are BadRequestErrors."""
    client, model = box.openai(), box.model()
    picture = [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]}]
    for param, wish in [("input", {"input": picture}), ("background", {"input": QUESTION, "background": True})]:
        error = raises(openai.BadRequestError, lambda: client.responses.create(model=model, **wish))
        equal(error.param, param, "param")
    long = {"model": model, "input": "word " * 200_000}
    error = raises(openai.BadRequestError, lambda: client.responses.create(**long))
    equal(error.code, "context_length_exceeded", "code")
    last = list(client.responses.create(**long, stream=True))[-1]
    equal((last.type, last.response.error.code), ("response.failed", "context_length_exceeded"), "last event")


CHECKS = [
    a_response_is_answered,
    a_response_streams_events_that_the_client_knows,
    a_conversation_goes_on,
    a_tool_is_called,
    answers_have_the_shape_asked_for,
    what_cannot_be_read_is_refused,
]

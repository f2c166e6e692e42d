"""Checks with the official `openai` package."""

import json

import openai

from box import equal, raises

QUESTION = [{"role": "user", "content": "What is ActionBooster?"}]


def models_are_listed(box):
    """openai: the models are listed and each can be looked up."""
    client = box.openai()
    models = list(client.models.list())
    assert models, "no models"
    for model in models:
        equal(model.object, "model", "object")
        assert model.created > 0, f"{model.id} has no date"
        equal(client.models.retrieve(model.id).id, model.id, "id")


def a_chat_is_answered(box):
    """openai: a chat completion carries text, finish reason and usage."""
    done = box.openai().chat.completions.create(model=box.model(), messages=QUESTION, temperature=0)
    choice = done.choices[0]
    assert choice.message.content.strip(), "the answer is empty"
    equal(choice.message.role, "assistant", "role")
    equal(choice.finish_reason, "stop", "finish_reason")
    assert done.usage.prompt_tokens > 0 and done.usage.completion_tokens > 0, done.usage
    equal(done.usage.total_tokens, done.usage.prompt_tokens + done.usage.completion_tokens, "total")


def the_guide_knows_the_appliance(box):
    """openai: the guide answers about the appliance in the language of the question."""
    questions = [("What is online mode?", "firewall"), ("¿Qué es el modo en línea?", "cortafuegos")]
    for question, word in questions:
        asked = [{"role": "user", "content": question}]
        done = box.openai().chat.completions.create(model="guide", messages=asked, temperature=0)
        text = done.choices[0].message.content
        assert word in text, f"{question} {text}"


def a_stream_is_the_same_answer(box):
    """openai: a stream comes in pieces that make up the same answer, with usage at the end."""
    client, model = box.openai(), box.model()
    whole = client.chat.completions.create(model=model, messages=QUESTION, temperature=0)
    chunks = list(
        client.chat.completions.create(
            model=model, messages=QUESTION, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len([piece for piece in pieces if piece]) > 1, "it came in one piece"
    equal("".join(pieces), whole.choices[0].message.content, "text")
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    equal(reasons[-1], whole.choices[0].finish_reason, "finish_reason")
    equal(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens, "completion tokens")


def limits_are_kept(box):
    """openai: max_tokens and stop end the answer where they say."""
    client, model = box.openai(), box.model()
    short = client.chat.completions.create(model=model, messages=QUESTION, temperature=0, max_tokens=2)
    equal(short.choices[0].finish_reason, "length", "finish_reason")
    equal(short.usage.completion_tokens, 2, "completion tokens")
    whole = client.chat.completions.create(model=model, messages=QUESTION, temperature=0, max_completion_tokens=24)
    text = whole.choices[0].message.content
    stop = text.split()[1]
    cut = client.chat.completions.create(
        model=model, messages=QUESTION, temperature=0, max_completion_tokens=24, stop=[stop]
    )
    equal(cut.choices[0].finish_reason, "stop", "finish_reason")
    equal(cut.choices[0].message.content, text.split(stop)[0], "text")


def the_same_seed_gives_the_same_text(box):
    """openai: the same seed gives the same text."""
    client, model = box.openai(), box.model()

    def once():
        done = client.chat.completions.create(
            model=model, messages=QUESTION, temperature=1.5, seed=7, max_tokens=24
        )
        return done.choices[0].message.content

    equal(once(), once(), "text")


def text_parts_are_read(box):
    """openai: content may be a list of text parts, and roles may be system and developer."""
    client, model = box.openai(), box.model()
    parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]
    plain = client.chat.completions.create(model=model, messages=QUESTION, temperature=0)
    listed = client.chat.completions.create(model=model, messages=parts, temperature=0)
    equal(listed.choices[0].message.content, plain.choices[0].message.content, "text")
    for role in ("system", "developer"):
        messages = [{"role": role, "content": "Be brief."}, *QUESTION]
        client.chat.completions.create(model=model, messages=messages, max_tokens=4)


def a_stranger_is_refused(box):
    """openai: a wrong key is an AuthenticationError."""
    error = raises(openai.AuthenticationError, lambda: box.openai("ab_wrong").models.list())
    equal(error.code, "invalid_api_key", "code")


def an_unknown_model_is_named(box):
    """openai: an unknown model is a NotFoundError that names close ones."""
    model = box.model()
    client = box.openai()
    call = lambda: client.chat.completions.create(model=model[:-1], messages=QUESTION)  # noqa: E731
    error = raises(openai.NotFoundError, call)
    equal(error.code, "model_not_found", "code")
    assert model in error.message, error.message
    raises(openai.NotFoundError, lambda: client.models.retrieve("no-such-model-here"))


def what_cannot_be_done_is_refused(box):
    """openai: too many choices, impossible numbers and empty conversations are refused, not ignored."""
    client, model = box.openai(), box.model()
    wishes = [("n", {"n": 200}), ("temperature", {"temperature": 5}), ("messages", {"messages": []})]
    for name, wish in wishes:
        arguments = {"model": model, "messages": QUESTION, **wish}
        error = raises(openai.BadRequestError, lambda: client.chat.completions.create(**arguments))
        equal(error.param, name, "param")
        equal(error.type, "invalid_request_error", "type")


def a_tool_is_called(box):
    """openai: a tool that has to be called is called with arguments of its schema, streamed or not."""
    client, model = box.openai(), box.model()
    parameters = {
        "type": "object",
        "properties": {"service": {"type": "string", "enum": ["agent", "worker"]}},
        "required": ["service"],
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": "restart", "parameters": parameters}}
    # Room for the blanks that JSON may have anywhere.
    ask = {"model": model, "messages": QUESTION, "tools": [tool], "tool_choice": "required", "max_tokens": 400}
    done = client.chat.completions.create(**ask)
    equal(done.choices[0].finish_reason, "tool_calls", "finish_reason")
    call = done.choices[0].message.tool_calls[0]
    equal(call.function.name, "restart", "name")
    assert json.loads(call.function.arguments)["service"] in ("agent", "worker"), call
    streamed = [chunk.choices[0].delta.tool_calls for chunk in client.chat.completions.create(**ask, stream=True)]
    told = [calls[0].function.name for calls in streamed if calls]
    equal(told, ["restart"], "streamed calls")


def answers_have_the_shape_asked_for(box):
    """openai: response_format gives JSON of the schema."""
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    wish = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}
    done = box.openai().chat.completions.create(
        model=box.model(), messages=QUESTION, response_format=wish, max_tokens=64
    )
    assert isinstance(json.loads(done.choices[0].message.content)["ok"], bool), done


def probabilities_are_told(box):
    """openai: logprobs tell every token, its probability and its rivals."""
    done = box.openai().chat.completions.create(
        model=box.model(), messages=QUESTION, logprobs=True, top_logprobs=2, max_tokens=6, temperature=0
    )
    tokens = done.choices[0].logprobs.content
    equal("".join(token.token for token in tokens), done.choices[0].message.content, "text")
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in tokens), tokens


def several_answers_are_given(box):
    """openai: n answers have the next seeds, and many prompts are continued side by side."""
    client, model = box.openai(), box.model()
    ask = {"model": model, "messages": QUESTION, "temperature": 1.5, "max_tokens": 8}
    done = client.chat.completions.create(**ask, n=3, seed=7)
    equal([choice.index for choice in done.choices], [0, 1, 2], "choices")
    second = client.chat.completions.create(**ask, seed=8)
    equal(done.choices[1].message.content, second.choices[0].message.content, "text of the second one")
    prompts = [f"Box number {number}" for number in range(32)]
    chunks = client.completions.create(model=model, prompt=prompts, max_tokens=2, stream=True)
    ended = {chunk.choices[0].index for chunk in chunks if chunk.choices[0].finish_reason}
    equal(ended, set(range(32)), "choices")


def plain_prompts_are_continued(box):
    """openai: completions continue plain prompts, streamed or not."""
    client, model = box.openai(), box.model()
    ask = {"model": model, "prompt": "ActionBooster is", "max_tokens": 8, "temperature": 0}
    done = client.completions.create(**ask)
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(**ask, stream=True))
    equal(streamed, done.choices[0].text, "text")
    equal(done.usage.completion_tokens, 8, "completion tokens")


def texts_become_vectors(box):
    """openai: embeddings are vectors of length one, alike for like texts."""
    done = box.openai().embeddings.create(model=box.model(), input=["the same", "the same"])
    left, right = (one.embedding for one in done.data)
    product = sum(a * b for a, b in zip(left, right))
    assert abs(product - 1) < 1e-3, product


def too_long_a_prompt_is_refused(box):
    """openai: a prompt longer than the context is a BadRequestError that says both lengths."""
    long = [{"role": "user", "content": "word " * 200_000}]
    client, model = box.openai(), box.model()
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(model=model, messages=long))
    equal(error.code, "context_length_exceeded", "code")
    assert "maximum context length is" in error.message, error.message


def a_base_url_without_its_end_is_explained(box):
    """openai: a base URL without /v1 is a NotFoundError that says so."""
    model = box.model()
    client = box.openai(below="")
    for call in (
        lambda: client.chat.completions.create(model=model, messages=QUESTION),
        lambda: client.embeddings.create(model=model, input="x"),
        lambda: client.models.list(),
    ):
        error = raises(openai.NotFoundError, call)
        assert "/v1" in error.message, error.message


def numbers_of_tokens_are_refused(box):
    """openai: numbers of tokens, LangChain's default, are a BadRequestError that says how to send texts."""
    client, model = box.openai(), box.model()
    error = raises(openai.BadRequestError, lambda: client.embeddings.create(model=model, input=[[9906, 1917]]))
    equal(error.param, "input", "param")
    assert "check_embedding_ctx_length" in error.message, error.message


def odd_histories_are_read(box):
    """openai: names with :latest, calls without an id and with broken arguments, and -1 are read."""
    call = {"id": None, "type": "function", "function": {"name": "f", "arguments": '{"city": "Par'}}
    messages = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "", "content": "no such city"},
        *QUESTION,
    ]
    client, model = box.openai(), box.model()
    done = client.chat.completions.create(model=model + ":latest", messages=messages, max_tokens=4)
    assert done.usage.completion_tokens > 0, done.usage
    client.chat.completions.create(model=model, messages=QUESTION, max_tokens=-1, temperature=0)


def a_left_stream_does_not_block(box):
    """openai: leaving a stream in the middle leaves the model free for the next request."""
    client, model = box.openai(), box.model()
    for _ in range(4):
        stream = client.chat.completions.create(model=model, messages=QUESTION, stream=True)
        next(iter(stream))
        stream.close()
    done = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=4)
    assert done.choices, "no answer"


CHECKS = [
    models_are_listed,
    a_chat_is_answered,
    the_guide_knows_the_appliance,
    a_stream_is_the_same_answer,
    limits_are_kept,
    the_same_seed_gives_the_same_text,
    text_parts_are_read,
    a_stranger_is_refused,
    an_unknown_model_is_named,
    what_cannot_be_done_is_refused,
    a_tool_is_called,
    answers_have_the_shape_asked_for,
    probabilities_are_told,
    several_answers_are_given,
    plain_prompts_are_continued,
    texts_become_vectors,
    too_long_a_prompt_is_refused,
    a_base_url_without_its_end_is_explained,
    numbers_of_tokens_are_refused,
    odd_histories_are_read,
    a_left_stream_does_not_block,
]

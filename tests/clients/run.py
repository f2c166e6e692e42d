"""Official clients against a running appliance.

Usage: python run.py READY.json — the file that `cargo xtask dev --ready-file` or `vm --ready-file` writes.
Prints one line a check and `N passed, N failed` at the end.
"""

import json
import sys

import httpx
import openai

QUESTION = "What is online mode?"


def main(path: str) -> int:
    with open(path, encoding="utf-8") as file:
        ready = json.load(file)
    checks = [value for name, value in sorted(globals().items()) if name.startswith("check_")]
    failed = 0
    with httpx.Client(verify=ready["ca_cert"], timeout=600) as http:
        for check in checks:
            try:
                check(ready, http)
                print(f"ok    {check.__doc__}")
            except Exception as cause:  # every failure is reported, whatever it is
                failed += 1
                print(f"FAIL  {check.__doc__}: {type(cause).__name__}: {cause}")
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


def client(ready: dict, http: httpx.Client, key: str | None = None) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{ready['base_url']}/v1", api_key=key or ready["api_key"], http_client=http, max_retries=0
    )


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def refused(kind: type[openai.APIStatusError], call) -> openai.APIStatusError:
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def check_models_are_listed(ready, http):
    """OpenAI: the built-in guide is listed and can be looked up"""
    box = client(ready, http)
    assert "guide" in [model.id for model in box.models.list().data]
    assert box.models.retrieve("guide").id == "guide"


def check_chat_answers(ready, http):
    """OpenAI: a chat completion has text, a finish reason and honest usage"""
    answer = client(ready, http).chat.completions.create(model="guide", messages=user(QUESTION))
    choice = answer.choices[0]
    assert "firewall" in choice.message.content, choice.message.content
    assert choice.finish_reason == "stop", choice.finish_reason
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.completion_tokens > 5


def check_streaming_is_the_same_text(ready, http):
    """OpenAI: a streamed answer is the plain answer in pieces, with usage when asked"""
    box = client(ready, http)
    plain = box.chat.completions.create(model="guide", messages=user(QUESTION)).choices[0].message.content
    stream = box.chat.completions.create(
        model="guide", messages=user(QUESTION), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len(pieces) > 5, "the answer came in one piece"
    assert "".join(pieces) == plain
    assert chunks[-1].usage.completion_tokens > 5


def check_max_tokens_and_stop(ready, http):
    """OpenAI: max_tokens and stop end the answer early and say so"""
    box = client(ready, http)
    short = box.chat.completions.create(model="guide", messages=user(QUESTION), max_tokens=3).choices[0]
    assert short.finish_reason == "length", short.finish_reason
    stopped = box.chat.completions.create(model="guide", messages=user(QUESTION), stop=["firewall"]).choices[0]
    assert "firewall" not in stopped.message.content
    assert stopped.finish_reason == "stop"


def check_content_parts(ready, http):
    """OpenAI: content as a list of text parts is the same as content as text"""
    box = client(ready, http)
    parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]
    assert "firewall" in box.chat.completions.create(model="guide", messages=parts).choices[0].message.content


def check_unknown_model(ready, http):
    """OpenAI: an unknown model is a 404 that names close ones"""
    call = lambda: client(ready, http).chat.completions.create(model="guid", messages=user("x"))  # noqa: E731
    error = refused(openai.NotFoundError, call)
    assert error.code == "model_not_found" and "guide" in error.message, error.message


def check_wrong_key(ready, http):
    """OpenAI: a wrong key is an authentication error in OpenAI's shape"""
    error = refused(openai.AuthenticationError, lambda: client(ready, http, "ab_" + "x" * 40).models.list())
    assert error.type == "authentication_error", error.body


def check_bad_parameters(ready, http):
    """OpenAI: an absurd temperature is refused with its range"""
    call = lambda: client(ready, http).chat.completions.create(  # noqa: E731
        model="guide", messages=user("x"), temperature=9
    )
    assert "temperature" in refused(openai.BadRequestError, call).message


def check_prompt_too_long(ready, http):
    """OpenAI: a prompt beyond the context is a 400 with both numbers"""
    call = lambda: client(ready, http).chat.completions.create(  # noqa: E731
        model="guide", messages=user("online mode " * 4000)
    )
    message = refused(openai.BadRequestError, call).message
    assert sum(word.isdigit() for word in message.split()) >= 2, message


def check_malformed_json(ready, http):
    """Malformed JSON is a 400 in OpenAI's shape"""
    answer = http.post(
        f"{ready['base_url']}/v1/chat/completions",
        content=b'{"model": ',
        headers={"authorization": f"Bearer {ready['api_key']}", "content-type": "application/json"},
    )
    assert answer.status_code == 400 and "message" in answer.json()["error"], answer.text


def check_x_api_key(ready, http):
    """x-api-key is accepted like a bearer token"""
    answer = http.get(f"{ready['base_url']}/v1/models", headers={"x-api-key": ready["api_key"]})
    assert answer.status_code == 200, answer.text


def check_query(ready, http):
    """/query answers with every model's text and a summary"""
    answer = http.post(
        f"{ready['base_url']}/query", json={"prompt": QUESTION}, headers={"x-api-key": ready["api_key"]}
    ).json()
    assert [part["model"] for part in answer["answers"]] == ["guide"], answer
    assert answer["summary"]["method"] == "single" and "firewall" in answer["summary"]["text"], answer


def check_query_stream(ready, http):
    """/query as server-sent events: start, tokens, answer, summary, done, unbuffered"""
    names = []
    with http.stream(
        "POST",
        f"{ready['base_url']}/query",
        json={"prompt": QUESTION, "stream": True},
        headers={"x-api-key": ready["api_key"]},
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream"), answer.headers
        names = [line.removeprefix("event: ") for line in answer.iter_lines() if line.startswith("event: ")]
    assert names[0] == "start" and names[-1] == "done" and names[-2] == "summary", names
    assert names.count("answer") == 1 and names.count("token") > 5, names


def check_empty_prompt(ready, http):
    """/query refuses an empty prompt with a problem that says what to do"""
    answer = http.post(f"{ready['base_url']}/query", json={"prompt": " "}, headers={"x-api-key": ready["api_key"]})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "prompt" in answer.json()["detail"].lower()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""Checks of the appliance's own API, with nothing but the standard library."""

import gzip
import json

from box import equal

PROMPT = "What is ActionBooster?"


def health_is_public(box):
    """api: /health answers without a key and everything works."""
    reply = box.send("GET", "/health", key=None)
    equal(reply.status, 200, "status")
    equal(reply.json()["status"], "ok", "health")


def a_question_is_answered(box):
    """api: /query answers with every model and a summary."""
    reply = box.send("POST", "/query", {"prompt": PROMPT, "max_tokens": 64})
    equal(reply.status, 200, "status")
    body = reply.json()
    assert body["answers"], body
    for answer in body["answers"]:
        equal(answer["error"], None, "error")
        assert answer["text"].strip() and answer["generated_tokens"] > 0, answer
    assert body["summary"]["text"].strip(), body
    assert body["summary"]["method"] in ("model", "single", "extractive", "manual", "declined", "none"), body
    assert body["plan"]["order"] in ("parallel", "sequential"), body
    routed = box.send("POST", "/api/v1/query", {"prompt": PROMPT, "max_tokens": 8})
    equal(routed.status, 200, "status")
    assert routed.json()["why"]["es"] and routed.json()["text"].strip(), routed.body


def the_key_may_come_in_either_header(box):
    """api: the key is accepted as x-api-key too."""
    reply = box.send("GET", "/api/v1/models", key=None, headers={"x-api-key": box.api_key})
    equal(reply.status, 200, "status")


def a_question_streams(box):
    """api: /query streams tokens, answers and the summary as server-sent events."""
    headers = {"accept": "text/event-stream"}
    with box.open("POST", "/query", {"prompt": PROMPT, "max_tokens": 64}, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream"), answer.headers
        events = list(server_sent_events(answer))
    names = [name for name, _ in events]
    equal((names[0], names[-1]), ("start", "done"), "first and last event")
    for model in events[0][1]["models"]:
        said = "".join(data["text"] for name, data in events if name == "token" and data["model"] == model)
        told = [data["text"] for name, data in events if name == "answer" and data["model"] == model]
        equal(told, [said], f"the answer of {model}")
    assert "summary" in names, names


def strangers_are_refused(box):
    """api: nothing but the public paths answers without a key."""
    calls = [("POST", "/query"), ("GET", "/v1/models"), ("GET", "/api/v1/models"), ("POST", "/v1/chat/completions")]
    for method, path in calls:
        for key in (None, "ab_wrong"):
            body = {"prompt": PROMPT} if method == "POST" else None
            reply = box.send(method, path, body, key=key)
            equal(reply.status, 401, f"status of {path}")
            reply.json()


def scopes_are_kept(box):
    """api: a key may do what its scopes say, and nothing after it is revoked."""
    made = box.send("POST", "/api/v1/keys", {"name": "reader", "scopes": ["read"]})
    equal(made.status, 201, "status")
    key = made.json()
    equal(box.send("GET", "/api/v1/models", key=key["key"]).status, 200, "status with the scope")
    equal(box.send("POST", "/query", {"prompt": PROMPT}, key=key["key"]).status, 403, "status without it")
    equal(box.send("DELETE", f"/api/v1/keys/{key['id']}").status, 204, "status of the removal")
    equal(box.send("GET", "/api/v1/models", key=key["key"]).status, 401, "status once revoked")


def models_say_what_they_are(box):
    """api: /api/v1/models says what each model is in both languages."""
    models = box.send("GET", "/api/v1/models").json()["models"]
    assert models, "no models"
    for model in models:
        assert model["licence"] and model["size_bytes"] > 0, model
        assert model["state"] in ("idle", "loading", "ready", "failed"), model
        equal(sorted(model["description"]), ["en", "es"], "languages of the description")


def mistakes_have_the_shape_of_their_surface(box):
    """api: mistakes are problem+json on our paths and OpenAI's error on theirs."""
    large = b'{"prompt":"' + b"x" * (10 << 20) + b'"}'
    cases = [
        (b'{"prompt":', (400,)),
        (b'{"prompt":"\xff"}', (400,)),
        (b'{"prompt":" "}', (422, 400)),
        (b'{"prompt":"x","models":["no-such-model"]}', (404,)),
        (large, (413,)),
    ]
    for body, statuses in cases:
        reply = box.send("POST", "/query", body)
        assert reply.status in statuses, f"{body[:40]} gave {reply.status}"
        problem = reply.json()
        equal(problem["status"], reply.status, "status in the body")
        assert problem["detail"] and problem["title"], problem
    for body, status in [(b'{"model":', 400), (b"[]", 400), (large, 413)]:
        reply = box.send("POST", "/v1/chat/completions", body)
        equal(reply.status, status, f"status of {body[:40]}")
        error = reply.json()["error"]
        equal(sorted(error), ["code", "message", "param", "type"], "members of the error")
        assert error["message"], error


def wrong_paths_and_methods_are_told_in_json(box):
    """api: what is no path of the box is problem+json, and a page only for browsers."""
    as_json = {"accept": "application/json"}
    page = {"accept": "text/html"}
    cases = [
        ("POST", "/chat/completions", {}, 404),
        ("GET", "/models", as_json, 404),
        ("GET", "/models", page, 200),
        ("POST", "/", {}, 404),
        ("POST", "/favicon.svg", {}, 405),
        ("GET", "/assets/none.js", {}, 404),
        ("GET", "/pages/none.html", {}, 404),
        ("POST", "/api/chat/", {}, 404),
        ("POST", "/api/chat/completions", {}, 404),
        ("POST", "/v1/chat/completions/", {}, 404),
        ("GET", "/v1/embeddings", {}, 405),
        ("GET", "/" + "x" * 9000, {}, 414),
        ("GET", "/", {"x-long": "x" * 9000}, 431),
    ]
    for method, path, headers, status in cases:
        reply = box.send(method, path, {} if method == "POST" else None, headers=headers)
        equal(reply.status, status, f"status of {method} {path[:40]}")
        kind = {name.lower(): value for name, value in reply.headers.items()}["content-type"]
        if status == 200:
            assert kind.startswith("text/html"), kind
        else:
            assert kind.endswith("json"), f"{method} {path[:40]} is {kind}"
            reply.json()
    told = box.send("POST", "/v1/chat/completions/", {}).json()["error"]["message"]
    assert "Did you mean /v1/chat/completions?" in told, told


def packed_bodies_are_read(box):
    """api: a body with gzip is read, and one that unpacks to too much is a 413."""
    packed = {"content-encoding": "gzip"}
    body = gzip.compress(json.dumps({"prompt": PROMPT, "max_tokens": 4}).encode())
    equal(box.send("POST", "/query", body, headers=packed).status, 200, "status")
    bomb = gzip.compress(b'{"prompt":"' + b"x" * (64 << 20) + b'"}')
    equal(box.send("POST", "/query", bomb, headers=packed).status, 413, "status of 64 MiB in little")
    unknown = {"content-encoding": "br"}
    equal(box.send("POST", "/query", b"x", headers=unknown).status, 415, "status of an unknown encoding")


def server_sent_events(answer):
    """Name and data of each event."""
    name = ""
    for line in answer:
        line = line.decode().rstrip("\r\n")
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            yield name, json.loads(line[5:])


CHECKS = [
    health_is_public,
    a_question_is_answered,
    the_key_may_come_in_either_header,
    a_question_streams,
    strangers_are_refused,
    scopes_are_kept,
    models_say_what_they_are,
    mistakes_have_the_shape_of_their_surface,
    wrong_paths_and_methods_are_told_in_json,
    packed_bodies_are_read,
]

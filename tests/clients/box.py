"""The appliance under test: plain HTTP for what has no client of its own, and the official clients."""

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass

import anthropic
import ollama
import openai

TIMEOUT_S = 120


@dataclass
class Reply:
    """Status, headers and body of one answer."""

    status: int
    headers: dict
    body: bytes

    def json(self):
        return json.loads(self.body)


class Box:
    """What a ready file describes."""

    def __init__(self, ready):
        self.base_url = ready["base_url"].rstrip("/")
        self.api_key = ready["api_key"]
        self.ca_cert = ready["ca_cert"]
        self.worker_port = ready["ports"].get("worker")
        self.trust = ssl.create_default_context(cafile=ready["ca_cert"])
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.trust)
        )

    def open(self, method, path, body=None, key="", headers=None):
        """Sends a request and returns the answer unread. `body` is bytes, or anything JSON can say."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        request = urllib.request.Request(self.base_url + path, data=body, method=method)
        request.add_header("content-type", "application/json")
        key = self.api_key if key == "" else key
        if key:
            request.add_header("authorization", f"Bearer {key}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        return self.opener.open(request, timeout=TIMEOUT_S)

    def send(self, method, path, body=None, key="", headers=None):
        """Sends a request and reads the whole answer, whatever its status."""
        try:
            with self.open(method, path, body, key, headers) as answer:
                return Reply(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, dict(error.headers), error.read())

    def openai(self, key="", below="/v1"):
        """The official client, pointed at the box and told to trust its authority."""
        return openai.OpenAI(
            base_url=self.base_url + below,
            api_key=self.api_key if key == "" else key,
            http_client=openai.DefaultHttpxClient(verify=self.trust, trust_env=False),
            timeout=TIMEOUT_S,
            max_retries=0,
        )

    def ollama(self):
        """Ollama's official client."""
        headers = {"authorization": f"Bearer {self.api_key}"}
        return ollama.Client(
            host=self.base_url, headers=headers, verify=self.trust, trust_env=False, timeout=TIMEOUT_S
        )

    def anthropic(self, key=""):
        """Anthropic's official client."""
        return anthropic.Anthropic(
            base_url=self.base_url,
            api_key=self.api_key if key == "" else key,
            http_client=anthropic.DefaultHttpxClient(verify=self.trust, trust_env=False),
            timeout=TIMEOUT_S,
            max_retries=0,
        )

    def model(self):
        """A model to ask: the built-in guide where there is one."""
        ids = [model.id for model in self.openai().models.list()]
        assert ids, "the box has no models"
        return "guide" if "guide" in ids else ids[0]


def equal(got, wanted, what="value"):
    assert got == wanted, f"{what} is {got!r} instead of {wanted!r}"


def raises(kind, call):
    """The error of that kind that `call` must raise."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")

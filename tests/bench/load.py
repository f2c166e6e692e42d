"""Asks two servers the same questions in turn and measures what a client sees.

Usage: python load.py PLAN.json

The plan is {"servers": [{"name", "socket" or "port", "key", "model"}, …]}. For every line of its input, a scenario
such as {"kind": "decode", "round": 0, "tokens": 96}, it asks each server once, right after the other, and prints one
line: a JSON object with the measurement of each. Who goes first changes from round to round.
"""

import http.client
import json
import socket
import sys
import threading
import time

TIMEOUT_S = 600
WORDS = "river stone window garden winter silver morning letter orange travel paper bridge".split()


class Connection(http.client.HTTPConnection):
    """HTTP/1.1 over a port of this machine or a Unix socket."""

    def __init__(self, server):
        super().__init__("localhost", server.get("port"), timeout=TIMEOUT_S)
        self.path = server.get("socket")

    def connect(self):
        if self.path is None:
            return super().connect()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self.path)


class Answer:
    """One streamed chat completion, with the moments at which text came."""

    def __init__(self, server, messages, tokens, **more):
        body = {
            "model": server["model"],
            "messages": messages,
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **more,
        }
        connection = Connection(server)
        headers = {"content-type": "application/json"}
        if server.get("key"):
            headers["authorization"] = f"Bearer {server['key']}"
        self.sent = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"{server['name']} says {response.status}: {response.read()[:500]}")
        self.moments, self.text, self.usage = [], "", None
        for line in response:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise RuntimeError(f"{server['name']} says {chunk['error']}")
            self.usage = chunk.get("usage") or self.usage
            if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                self.moments.append(time.perf_counter())
                self.text += chunk["choices"][0]["delta"]["content"]
        self.ended = time.perf_counter()
        connection.close()

    @property
    def first(self):
        """Seconds to the first text."""
        return self.moments[0] - self.sent

    @property
    def rate(self):
        """Tokens a second once text comes."""
        tokens = self.usage["completion_tokens"]
        return (tokens - 1) / (self.moments[-1] - self.moments[0])


def user(content):
    return [{"role": "user", "content": content}]


def prose(characters, mark):
    """Text that begins differently for every mark, so that nothing of it is remembered."""
    words, length, number = [mark], len(mark), 0
    while length < characters:
        word = WORDS[(number * number + number // 7) % len(WORDS)]
        words.append(word)
        length += len(word) + 1
        number += 1
    return " ".join(words)[:characters]


def decode(server, mark, scenario):
    """Tokens a second of one stream."""
    return Answer(server, user(prose(40, mark)), scenario["tokens"]).rate


def prefill(server, mark, scenario):
    """Tokens of a prompt read per second."""
    answer = Answer(server, user(prose(scenario["characters"], mark)), 1)
    return answer.usage["prompt_tokens"] / answer.first


def concurrent(server, mark, scenario):
    """Tokens a second of several streams together."""
    answers, started = [], time.perf_counter()

    def one(number):
        answers.append(Answer(server, user(prose(60, f"{mark} {number}")), scenario["tokens"]))

    together([lambda number=number: one(number) for number in range(scenario["streams"])])
    seconds = max(answer.ended for answer in answers) - started
    return sum(answer.usage["completion_tokens"] for answer in answers) / seconds


def behind(server, mark, scenario):
    """Seconds to the first text of a short request while a long prompt is being read."""
    found = []

    def short():
        time.sleep(scenario["after_s"])
        found.append(Answer(server, user(prose(30, f"{mark} short")), 2).first)

    def long():
        Answer(server, user(prose(scenario["characters"], f"{mark} long")), 1)

    together([long, short])
    return found[0]


def second_turn(server, mark, scenario):
    """Seconds to the first text of a second turn, as a share of the first turn's."""
    first = user(prose(scenario["characters"], mark))
    answer = Answer(server, first, 8)
    more = [*first, {"role": "assistant", "content": answer.text}, *user("and then?")]
    return Answer(server, more, 8).first / answer.first


def together(works):
    """Runs all at once; fails when one of them does."""
    errors = []

    def guarded(work):
        try:
            work()
        except Exception as error:  # told below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


SCENARIOS = {work.__name__: work for work in (decode, prefill, concurrent, behind, second_turn)}


def main(arguments):
    if len(arguments) != 1:
        print(__doc__.strip(), file=sys.stderr)
        return 64
    with open(arguments[0], encoding="utf-8") as file:
        plan = json.load(file)
    for server in plan["servers"]:
        Answer(server, user("wake up"), 4)
    asked = 0
    for line in sys.stdin:
        scenario = json.loads(line)
        # A round that is measured again must not be remembered either.
        mark = f"{asked} {scenario['kind']}"
        asked += 1
        servers = plan["servers"] if scenario["round"] % 2 == 0 else plan["servers"][::-1]
        measured = {server["name"]: SCENARIOS[scenario["kind"]](server, mark, scenario) for server in servers}
        print(json.dumps(measured), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Mixed requests to three models in a budget for two, and what the agent adds to its runner.

Usage: python mixed.py PLAN.json

The plan is {"socket", "key", "models", "requests", "clients", "seed", "budget_bytes"}. Prints one JSON
object: failures, evictions, the fewest evictions that an order known beforehand could have had, whether the
budget was ever exceeded, the agent's own part of a request's time in milliseconds (of blocks of requests, the
medians), and its memory in bytes.
"""

import json
import random
import socket
import struct
import sys
import threading
import time

from load import Connection, together, user

SHARES = (5, 3, 2)
# Requests whose times are told as one, and how many such there are.
BLOCK, BLOCKS = 25, 16


def metrics(plan):
    """The agent's own numbers."""
    connection = Connection(plan)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = {}
    for line in text.splitlines():
        if line.startswith("#") or " " not in line:
            continue
        name, value = line.rsplit(" ", 1)
        name = name.split("{")[0]
        found[name] = found.get(name, 0.0) + float(value)
    return found


def ask(connection, plan, model, tokens):
    """One request over an open connection; returns its answer and how long it took."""
    body = json.dumps({"model": model, "messages": user("Once upon a time"), "max_tokens": tokens, "temperature": 0})
    headers = {"content-type": "application/json", "authorization": f"Bearer {plan['key']}"}
    started = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", body, headers)
    response = connection.getresponse()
    answer = response.read()
    took = time.perf_counter() - started
    return response.status, json.loads(answer), took


def fewest_evictions(order, room):
    """Evictions of an order known beforehand: the model that is needed last goes (Belady, 1966)."""
    loaded, evictions = set(), 0
    for place, model in enumerate(order):
        if model in loaded:
            continue
        if len(loaded) == room:
            rest = order[place + 1 :]
            loaded.remove(max(loaded, key=lambda other: rest.index(other) if other in rest else len(rest)))
            evictions += 1
        loaded.add(model)
    return evictions


def mixed(plan):
    """Several clients that ask models at random, each as soon as it has its answer."""
    chance = random.Random(plan["seed"])
    order = chance.choices(plan["models"], SHARES, k=plan["requests"])
    asked, failures, taken = [], [], iter(order)
    lock, over = threading.Lock(), threading.Event()
    highest = [0.0]

    def client():
        connection = Connection(plan)
        while True:
            with lock:
                model = next(taken, None)
                if model is None:
                    return
                asked.append(model)
            status, answer, _ = ask(connection, plan, model, 4)
            if status != 200:
                failures.append(f"{status} {answer}")

    def look():
        while not over.wait(0.05):
            highest[0] = max(highest[0], metrics(plan).get("runners_estimated_bytes", 0.0))

    before = metrics(plan)
    looking = threading.Thread(target=look)
    looking.start()
    try:
        together([client] * plan["clients"])
    finally:
        over.set()
        looking.join()
    after = metrics(plan)
    evictions = after.get("runner_evictions_total", 0.0) - before.get("runner_evictions_total", 0.0)
    return {
        "failures": len(failures),
        "first_failure": failures[0] if failures else None,
        "evictions": evictions,
        "fewest_evictions": fewest_evictions(asked, 2),
        "highest_bytes": highest[0],
    }


def overhead(plan):
    """Milliseconds of a request that are not the runner's: the medians of blocks."""
    connection = Connection(plan)
    model = plan["models"][0]
    ask(connection, plan, model, 1)
    medians = []
    for _ in range(BLOCKS):
        parts = []
        for _ in range(BLOCK):
            _, answer, took = ask(connection, plan, model, 1)
            timings = answer["timings"]
            parts.append(took * 1e3 - timings["prompt_ms"] - timings["predicted_ms"])
        medians.append(sorted(parts)[len(parts) // 2])
    connection.close()
    return medians


def resident(plan):
    """Bytes of the process that listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(plan["socket"])
        pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        status = dict(line.split(":", 1) for line in file)
    assert status["Name"].strip().startswith("booster-agent"), status["Name"]
    return int(status["VmRSS"].split()[0]) * 1024


def main(arguments):
    if len(arguments) != 1:
        print(__doc__.strip(), file=sys.stderr)
        return 64
    with open(arguments[0], encoding="utf-8") as file:
        plan = json.load(file)
    results = mixed(plan)
    results["overhead_ms"] = overhead(plan)
    results["resident_bytes"] = resident(plan)
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

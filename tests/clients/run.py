"""Checks a running appliance with the clients that owners really use.

Usage: python run.py READY.json

READY.json is what `cargo xtask dev --ready-file` or `vm --ready-file` writes. Each check prints one
line; the last line counts them, and the exit status is 1 when one failed.
"""

import json
import sys
import traceback

import anthropic_client
import api
import chat
import detection
import ollama_client
import readme
import responses_client
from box import Box

CHECKS = [
    *api.CHECKS,
    *chat.CHECKS,
    *responses_client.CHECKS,
    *ollama_client.CHECKS,
    *anthropic_client.CHECKS,
    *readme.CHECKS,
    *detection.CHECKS,
]


def main(arguments):
    if len(arguments) != 1:
        print(__doc__.strip(), file=sys.stderr)
        return 64
    with open(arguments[0], encoding="utf-8") as file:
        box = Box(json.load(file))
    failed = 0
    for check in CHECKS:
        sentence = check.__doc__.strip().rstrip(".")
        try:
            check(box)
        except Exception as error:
            failed += 1
            reason = str(error) or type(error).__name__
            print(f"FAIL {sentence}: {reason}", flush=True)
            traceback.print_exc(limit=-2)
        else:
            print(f"ok   {sentence}", flush=True)
    print(f"{len(CHECKS) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

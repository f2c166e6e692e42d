"""Checks that every example of the READMEs with `curl` works as it is written."""

import json
import os
import re
import subprocess
from pathlib import Path

from box import equal

ROOT = Path(__file__).resolve().parents[2]
HOST = "https://actionbooster-1a2b.local"


def examples(name):
    """Commands with curl in the README's blocks of shell, with their continued lines."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("curl ")]


def every_curl_works(box):
    """readme: every curl of both READMEs answers."""
    commands = examples("README.md") + examples("README.es.md")
    assert len(commands) >= 6, commands
    for command in commands:
        assert HOST in command and "ca.crt" in command, command
        command = command.replace(HOST, box.base_url).replace("ca.crt", box.ca_cert).replace("curl ", "curl -fsS ", 1)
        done = subprocess.run(
            ["bash", "-c", command],
            env={**os.environ, "KEY": box.api_key},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        equal(done.returncode, 0, f"status of {command}: {done.stderr}")
        assert json.loads(done.stdout), command


CHECKS = [every_curl_works]

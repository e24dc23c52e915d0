"""Schemathesis against the OpenAPI of `comem serve`, in a process of its own, with a tiny model.

It makes requests of the right form and of wrong ones, and checks statuses, media types, schemas, headers, methods and
that no route answers without a token. What it found goes into the schema or the server, not into a list of exceptions;
`schemathesis/schemathesis.toml` says what OpenAPI cannot express.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
from helpers.programs import comem_serve
from helpers.saved import save_tiny

from comem_memory.server.tokens import new_token

FOLDER = Path(__file__).parent / "schemathesis"
EXAMPLES = 12
"""Random requests for each operation, beside those at every bound of its schema."""


def test_nothing_is_found(tmp_path: Path):
    token = new_token(tmp_path / "tokens.json", name="all", namespaces=None, writes=True)
    limits = ("--max-new-tokens", 4, "--rate", "100000/minute")
    with comem_serve(save_tiny(tmp_path), tmp_path / "memory", "--tokens", tmp_path / "tokens.json", *limits) as url:
        authorization = f"Bearer {token}"
        paths = httpx.get(f"{url}/openapi.json").json()["paths"]
        models = httpx.get(f"{url}/v1/models", headers={"Authorization": authorization}).json()
        environment = {
            "AUTHORIZATION": authorization,
            "COMEM_URL": url,
            "MODEL": models["data"][0]["id"],
            "SCHEMATHESIS_HOOKS": str(FOLDER / "hooks.py"),
        }
        command = [Path(sys.executable).with_name("schemathesis"), "--config-file", FOLDER / "schemathesis.toml", "run"]
        options = ["--header", f"Authorization: {authorization}", "--max-examples", EXAMPLES, "--seed", 1]
        options += ["--continue-on-failure", "--no-shrink", "--request-timeout", 60]
        result = subprocess.run(
            [*map(str, command), *map(str, options), f"{url}/openapi.json"],
            env=os.environ | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    log = [json.loads(line) for line in (tmp_path / "memory.log").read_text().splitlines()]
    operations = sum(len(methods) for methods in paths.values())
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"Tested: {operations}" in result.stdout
    answered = {(line["route"], line["status"] // 100) for line in log}
    heard = {"/v1/audio"}  # this model hears nothing, so no item has any; tests/test_audio.py has it
    assert answered >= {(path, 2) for path in paths.keys() - heard}, "each route did what it is for, too"

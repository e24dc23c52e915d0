"""The commands of the guide print what it shows, one after the other, with the embedded model."""

import io
import os
import re
import sys
import warnings
from pathlib import Path

import pytest
from helpers.shell import commands, sessions

from comem_memory import files, opening
from comem_memory.cli import app as cli
from comem_memory.cli import plan

PAGE = (Path(__file__).parents[1] / "docs" / "guides" / "command-line.md").read_text(encoding="utf-8")
HOME = Path("/home/ada")
"""Where the page was made."""
COLUMNS = 96
"""Of its terminal."""
DEVICES = [plan.Device("cpu", 25_300_000_000, 18_300_000_000)]
"""Of its machine."""


def test_every_command_prints_what_stands_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # as it was, when the test ends
    monkeypatch.setattr(cli.console, "_width", COLUMNS)
    monkeypatch.setattr(files, "cache_directory", lambda: HOME / ".cache" / "comem")
    monkeypatch.setattr(plan, "devices", lambda: DEVICES)
    encoder, key = opening.load_encoder(None, None, {}), opening.default_key()
    monkeypatch.setattr(opening, "load_encoder", lambda *_: encoder)  # once, and not for each command
    monkeypatch.setattr(opening, "default_key", lambda: key)
    for name in [name for name in os.environ if name.startswith("COMEM_")]:
        monkeypatch.delenv(name)  # none was set where the page was made
    for name, content in re.findall(r"^```\w+ title=\"(.+?)\"\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        Path(name).write_text(content, encoding="utf-8")
    capsys.readouterr()  # what loading printed
    typed_and_shown = list(sessions(PAGE, "console"))
    assert len(typed_and_shown) >= 20
    for typed, shown in typed_and_shown:
        printed, code, given = "", 0, ""
        for words in commands(typed):
            if words[0] == "echo":
                given = words[1].replace("$?", str(code)) + "\n"
                continue
            monkeypatch.setattr(sys, "argv", words)
            monkeypatch.setattr(sys, "stdin", io.StringIO(given))
            code, given = run(), ""
            out, err = capsys.readouterr()
            printed += err + out
        said = (printed + given).replace(str(tmp_path), str(HOME))
        assert alike(said) == alike(shown), typed


def run() -> int:
    """The exit code of the command in `sys.argv`."""
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def alike(said: str) -> str:
    """What is printed, without what differs each time: moments, ids that were drawn, digits of floating point."""
    said = re.sub(r"\b[0-9a-f]{32}\b", "i" * 32, said)
    said = re.sub(r"\d{4}-\d\d-\d\d( \d\d:\d\d|T[\d:.]+\+00:00)", "MOMENT", said)
    return re.sub(r"\b0\.\d{4,}", lambda number: f"{float(number[0]):.3f}", said)

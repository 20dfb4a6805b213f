"""Every script end to end, as a user starts it, on the smallest settings and the bundled digits."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

SCRIPTS = sorted(path.name for path in ROOT.glob("hw1_*.py"))


def start(script, *arguments, **options):
    return subprocess.run([sys.executable, ROOT / script, *map(str, arguments)], capture_output=True, text=True, check=False,
                          **options)


@pytest.mark.parametrize("script", SCRIPTS)
def test_quick_run_then_replot(script, tmp_path):
    # no display, another folder, and none of the variables a shell might add
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "LANG", "HOME")} | {"LANG": "C"}
    digits = ["--dataset", "digits"] if "--dataset" in start(script, "--help").stdout else []
    result = start(script, "--quick", *digits, "--out", "ø figures", cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""  # no warning, and no progress bar where stderr is no terminal
    folder = tmp_path / "ø figures" / ("quick-digits" if digits else "quick")
    name = script.removesuffix(".py")
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.json", f"{name}.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ø figures"]  # nothing is written anywhere else

    results = json.loads((folder / f"{name}.json").read_text(), parse_constant=pytest.fail)
    assert results["experiment"] == name and results["table"] and results["curves"]
    figure = folder / f"{name}.png"
    drawn = figure.read_bytes()
    assert drawn.startswith(b"\x89PNG") and len(drawn) < 300_000
    figure.unlink()
    result = start(script, "--quick", *digits, "--replot", "--out", "ø figures", cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    assert figure.read_bytes() == drawn


def test_there_are_nine():
    assert len(SCRIPTS) == 9

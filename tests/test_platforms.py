"""Windows, macOS, Jupyter, and every Python from 3.10 up, as far as one machine can try them."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig

import pytest
from conftest import ROOT

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
CODE = sorted([*ROOT.glob("*.py"), *ROOT.glob("common/*.py"), *ROOT.glob("report/*.py"),
               *ROOT.glob("benchmarks/*.py")])
OWN_MODULES = {"common", "report", "benchmarks", "run_all"}
# Where they differ from the module's; dask.distributed is a package of its own.
NAMES_ON_PYPI = {"PIL": "pillow", "sklearn": "scikit-learn", "dask": "distributed"}


def run(words, folder, **environment):
    return subprocess.run(words, cwd=folder, capture_output=True, encoding="utf-8", timeout=120,
                          env=ENVIRONMENT | environment)


# --- systems ---

TINY = {
    "hw1_1_mnist": ["--dataset", "digits", "--runs", "1", "--epochs", "1", "--train-size", "100"],
    "hw1_2_minratio": ["--runs", "2", "--epochs", "20", "--iterations", "10", "--neighbours", "20"],
}
# Takes away what Windows lacks, once the libraries are there, and runs a script to its end.
LIKE_WINDOWS = """
import os, runpy, signal, sys
import matplotlib.pyplot, scipy.stats, sklearn.datasets, sklearn.model_selection
import torch, torchvision, tqdm, PIL.Image
for module, names in [(os, "fchmod fchown geteuid getuid getpgid setsid killpg fork forkpty uname "
                           "sysconf getloadavg sched_getaffinity register_at_fork"),
                      (signal, "SIGKILL SIGHUP SIGUSR1 SIGALRM alarm pause")]:
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ("resource", "fcntl", "pwd", "grp", "termios", "pty", "posix"):
    sys.modules[name] = None  # importing it now fails
del sys.argv[0]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("name", TINY)
def test_a_script_runs_where_the_names_that_windows_lacks_are_missing(name, tmp_path):
    (tmp_path / "like_windows.py").write_text(LIKE_WINDOWS)
    script = str(ROOT / f"{name}.py")
    ended = run([sys.executable, "like_windows.py", script, "--quick", *TINY[name]], tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    suffixes = sorted(path.suffix for path in (tmp_path / "figures").rglob(f"{name}.*"))
    assert suffixes == [".json", ".md", ".png"]


def test_every_module_is_written_in_the_grammar_of_python_3_10():
    assert len(CODE) > 20
    for path in CODE:
        ast.parse(path.read_text(encoding="utf-8"), path.name, feature_version=(3, 10))


def test_the_check_of_every_push_names_three_systems_and_the_oldest_and_newest_python():
    pytest.importorskip("check_jsonschema")
    workflow = ROOT / ".github" / "workflows" / "test.yml"
    checked = run([sys.executable, "-m", "check_jsonschema", "--builtin-schema",
                   "vendor.github-workflows", str(workflow)], ROOT)
    assert checked.returncode == 0, checked.stdout
    yaml = pytest.importorskip("ruamel.yaml").YAML(typ="safe")
    job, = yaml.load(workflow)["jobs"].values()
    matrix = job["strategy"]["matrix"]
    assert {system.partition("-")[0] for system in matrix["system"]} == {
        "ubuntu", "macos", "windows"}
    assert {"3.10", "3.13"} <= set(matrix["python"])


# --- Jupyter ---


def test_a_standard_output_without_reconfigure_as_in_jupyter_works(tmp_path, monkeypatch, run_here):
    class NotebookOutput:
        encoding = "UTF-8"

        def __init__(self):
            self.text = ""

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    output = NotebookOutput()
    monkeypatch.setattr(sys, "stdout", output)
    run_here(ROOT / "hw1_2_minratio.py", "--quick", *TINY["hw1_2_minratio"], folder=tmp_path)
    assert "figure:  figures" in output.text


def test_percent_run_in_ipython_works_and_leaves_the_shell_alive(tmp_path):
    pytest.importorskip("IPython")
    script = ROOT / "hw1_2_minratio.py"
    cell = "\n".join([
        f'%run "{script}" --quick {" ".join(TINY["hw1_2_minratio"])}',
        f'%run "{script}" --no-such-flag',
        "import signal",
        "ctrl_c = signal.getsignal(signal.SIGINT)",
        "print('alive:', len(FLAGS), ctrl_c is signal.default_int_handler)",
    ])
    ended = run([sys.executable, "-m", "IPython", "--no-banner", "--colors", "NoColor", "-c", cell],
                tmp_path, IPYTHONDIR=str(tmp_path / "ipython"))
    assert "alive: 4 True" in ended.stdout, ended.stdout + ended.stderr
    assert "figure:  figures" in ended.stdout
    assert "--no-such-flag" in ended.stderr
    figures = sorted(path.name for path in (tmp_path / "figures").rglob("*.png"))
    assert figures == ["hw1_2_minratio.png", "hw1_2_minratio_details.png"]


# --- tools and packages ---


def test_pytest_as_a_bare_command_finds_our_modules():
    pytest_command = shutil.which("pytest", path=sysconfig.get_path("scripts"))
    if not pytest_command:
        pytest.skip("pytest was installed without its command")
    test_file, *_ = sorted((path for path in ROOT.glob("tests/test_*.py")
                            if "\nfrom common" in path.read_text(encoding="utf-8")),
                           key=lambda path: path.stat().st_size)
    ended = run([pytest_command, "--collect-only", "-q", "-p", "no:cacheprovider",
                 f"tests/{test_file.name}"], ROOT)
    assert ended.returncode == 0, ended.stdout


def imported_packages(path):
    """The packages of others that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.partition(".")[0])
    names -= {*sys.stdlib_module_names, *OWN_MODULES, *(script.stem for script in CODE)}
    return {NAMES_ON_PYPI.get(name, name) for name in names}


def required_packages(file):
    """{package: version or range} of a file of requirements."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return dict(re.fullmatch(r"([\w-]+)([=><].*)", line).groups()
                for line in lines if line and not line.startswith(("#", "-")))


def test_the_requirements_name_every_package_that_the_code_imports():
    cluster = ROOT / "common" / "cluster.py"  # which is imported for --cluster only
    imported = set().union(*(imported_packages(path) for path in CODE if path != cluster))
    assert {"torch", "pillow", "joblib"} <= imported
    assert imported <= set(required_packages("requirements.txt"))
    assert imported_packages(cluster) <= {*required_packages("requirements.txt"),
                                          *required_packages("requirements-cluster.txt")}


def test_the_constraints_pin_every_requirement_within_its_range():
    packaging = pytest.importorskip("packaging.specifiers")
    pinned = required_packages("constraints.txt")
    for package, allowed in required_packages("requirements.txt").items():
        version = pinned[package].removeprefix("==")
        assert pinned[package].startswith("==")
        assert packaging.SpecifierSet(allowed).contains(version, prereleases=True), package


def test_older_pythons_are_refused_at_installation():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^requires-python = ">=3\.10"$', text, re.M)

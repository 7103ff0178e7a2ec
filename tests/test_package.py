"""The wheel: what `pip install` brings to somebody without the repository."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("pipelines", "savedmodels", "serving", "trainers", "trainers.datasets")
SCRIPTS = ("maaskit-train", "maaskit-serve", "maaskit-score")


def _run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: a build leaves its own folders beside the sources.
    source = folder / "source"
    skipped = shutil.ignore_patterns(".*", "artifacts", "build", "dist", "*.egg-info")
    shutil.copytree(ROOT, source, ignore=skipped)
    done = _run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation"),
        *("--outdir", folder, source),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("maaskit-*.whl")
    return built


@pytest.fixture(scope="module")
def clean_venv(wheel, tmp_path_factory):
    """A new environment with the wheel; its dependencies are borrowed, not copied."""
    venv = tmp_path_factory.mktemp("clean") / "venv"
    assert _run(sys.executable, "-m", "venv", "--without-pip", venv).returncode == 0
    python = venv / "bin" / "python"
    done = _run(
        *(sys.executable, "-m", "pip", "--python", python),
        *("install", "--no-deps", "--no-index", wheel),
    )
    assert done.returncode == 0, done.stderr
    (site,) = (venv / "lib").glob("python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return venv


def test_the_wheel_brings_the_packages_and_nothing_of_the_tests(clean_venv, tmp_path):
    code = "import importlib, sys\n" + "\n".join(
        f"print(importlib.import_module('{name}').__file__)" for name in PACKAGES
    )
    done = _run(clean_venv / "bin" / "python", "-c", code, cwd=tmp_path)
    files = done.stdout.splitlines()
    assert len(files) == len(PACKAGES), done.stderr
    assert all(pathlib.Path(file).is_relative_to(clean_venv) for file in files)
    (site,) = (clean_venv / "lib").glob("python*/site-packages")
    assert not (site / "tests").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_console_scripts_start_outside_the_repository(clean_venv, tmp_path, script):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = _run(clean_venv / "bin" / script, "--help", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout


def test_the_installed_trainer_finds_its_models(clean_venv, tmp_path):
    done = _run(clean_venv / "bin" / "maaskit-train", "mnist", cwd=tmp_path)
    assert done.returncode == 2
    assert "`mnist_classifier`" in done.stderr

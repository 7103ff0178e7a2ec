"""Imports point down only: pipelines, then trainers | serving, then savedmodels."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
MAY_IMPORT = {
    "savedmodels": set(),
    "serving": {"savedmodels"},
    "trainers": {"savedmodels"},
    "pipelines": {"savedmodels", "serving", "trainers"},
}
FILES = sorted(
    path.relative_to(ROOT)
    for package in MAY_IMPORT
    for path in (ROOT / package).rglob("*.py")
)


def _imported(path: pathlib.Path) -> set[str]:
    """Top-level names that a file imports, wherever in the file it does."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_layer_imports_only_the_layers_below_it(path):
    package = path.parts[0]
    allowed = MAY_IMPORT[package] | {package}
    assert _imported(ROOT / path) & set(MAY_IMPORT) <= allowed


@pytest.mark.parametrize("path", FILES, ids=str)
def test_nothing_in_the_product_imports_its_tests(path):
    assert "tests" not in _imported(ROOT / path)


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.parts[0] in ("serving", "savedmodels")], ids=str
)
def test_serving_and_savedmodels_never_import_keras(path):
    assert not _imported(ROOT / path) & {"keras", "tf_keras"}


def test_the_server_starts_without_importing_tensorflow():
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import serving.server, serving.grpc_client, serving.rest_client, sys;"
            "print(hasattr(sys.modules.get('tensorflow'), 'Variable'),"
            " 'keras' in sys.modules)",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert loaded.split() == ["False", "False"]

"""`--help` of every command, as a person reads it."""

import importlib
import pathlib

import pytest

import pipelines
from serving import flags

VERBS = sorted(
    file.stem
    for file in pathlib.Path(pipelines.__path__[0]).glob("*.py")
    if not file.stem.startswith("_")
)


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_the_defaults_that_there_are(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"pipelines.{verb}").main(["--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for nothing in ("default: None", "default: []"):
        assert nothing not in text
    assert text.count("(default: the latest)") == text.count("--version N version")
    if "--runs" in text:
        assert "(default: artifacts/runs)" in text


def test_the_servers_flags_that_take_true_or_false_show_which_they_are(capsys):
    with pytest.raises(SystemExit):
        flags.parse(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--rest_api_enable_cors_support [true|false]" in text
    assert "let web pages of other origins call (default: False)" in text

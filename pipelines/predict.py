"""Asks the running server about a file or a text, and prints or draws its answers.

Ends with 0 if every instance was answered, with 1 if some were refused (the reasons go
to stderr) or no server answers, with 2 if what was typed does not fit.
"""

import argparse
import functools
import glob
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from pipelines import (
    _answer_text,
    _batches,
    _boxes,
    _cli,
    _files,
    _images,
    _inputs,
    _lines,
    _requests,
    _scorer,
    _sources,
    _tiles,
)
from pipelines._inputs import Inputs
from pipelines._progress import Notes
from pipelines._sources import Refusal, Row
from savedmodels.errors import MaaskitError, UsageError
from serving.command_line import whole_number
from serving.errors import (
    DeadlineExceededError,
    ServableNotFoundError,
    UnavailableError,
)
from serving.grpc_client import GrpcClient
from serving.servable import DEFAULT_SIGNATURE, SignatureInfo

_BATCH = 32  # rows a request: answers come soon, and messages stay small


@_cli.command
def main(argv: Sequence[str]) -> int:
    """Runs file -> instances -> server -> text."""
    arguments = _parser().parse_args(argv)
    path = pathlib.Path(arguments.input)
    document = _requests.load(path) if path.suffix.lower() == ".json" else None
    name = (
        arguments.signature or _requests.signature_name(document) or DEFAULT_SIGNATURE
    )
    with GrpcClient(arguments.server) as client:
        server = _Server(client, arguments)
        signature = server.signature(name)
        output = pathlib.Path(arguments.output) if arguments.output else None
        if output is not None:
            _boxes.check_output(output, signature)
        if _finds_objects(arguments.input, signature):
            source = _sources.find(arguments.input)
            _check_drawable(source, output)
            ask = functools.partial(server.run, name)
            detector = _tiles.Detector(ask, signature, arguments.tile, Notes())
            code = _print(_drawn(detector.answers(source), output))
            if output is not None and code == 0:
                print(f"\nDrawn in {output}")
            return code
        items: Iterable[Row | Refusal]
        if document is not None:
            items = _requests.rows(document, signature, path.name)
        elif _is_typed(arguments.input, signature):
            items = [_typed(arguments.input, signature)]
        else:
            source = _sources.find(arguments.input)
            _sources.preview(source, signature)
            items = _sources.read(source, signature, Notes())
        largest = _batches.largest_batch(signature, _BATCH)
        batches = _batches.batches(items, largest)
        return _print(_rows(_scorer.answers(server, name, batches)))


class _Server:
    """The model as the server has it; runs batches as a servable does."""

    def __init__(self, client: GrpcClient, arguments: argparse.Namespace) -> None:
        self._client = client
        self._address = arguments.server
        self._model = arguments.model
        self._version = arguments.version

    def signature(self, name: str) -> SignatureInfo:
        """Asks what the signature takes and gives."""
        try:
            signatures = self._client.metadata(self._model, version=self._version)
        except (UnavailableError, DeadlineExceededError) as error:
            raise MaaskitError(
                f"No server answers at {self._address}. Expected one started with "
                f"`make serve`. Received: {error}"
            ) from error
        except ServableNotFoundError as error:
            raise UsageError(
                f"The server at {self._address} has no such model or version. "
                f"`make models` lists what the store holds. Received: {self._model}"
                f"{'' if self._version is None else f', version {self._version}'}."
            ) from error
        return _inputs.find_signature(signatures, name, f"Model `{self._model}`")

    def run(self, signature_name: str, inputs: Inputs) -> dict[str, np.ndarray]:
        """Asks for one batch."""
        try:
            return self._client.predict(
                self._model,
                inputs,
                version=self._version,
                signature_name=signature_name,
            )
        except (UnavailableError, DeadlineExceededError) as error:
            # Not about these instances: asking for each of them alone would not help.
            raise MaaskitError(f"The server did not answer: {error}") from error


def _is_typed(given: str, signature: SignatureInfo) -> bool:
    """Whether `--input` is the text to ask about, and not the name of a file."""
    # A mistyped name is told, and not asked about: it has an ending, or folders and no
    # space. A date has slashes too, and begins with a digit.
    in_folders = "/" in given and " " not in given and not given[0].isdigit()
    is_name = _files.kind(given) or in_folders
    there = os.path.exists(given) or (glob.has_magic(given) and glob.glob(given))
    return bool(_lines.text_alias(signature)) and not is_name and not there


def _finds_objects(given: str, signature: SignatureInfo) -> bool:
    """Whether `--input` names images in which the signature finds objects."""
    takes = _boxes.are_given(signature.outputs) and _images.image_alias(signature)
    return (
        bool(takes)
        and _files.kind(given) in (None, "image")
        and (pathlib.Path(given).suffix.lower() != ".json")
    )


def _check_drawable(source: _sources.Source, output: pathlib.Path | None) -> None:
    kinds = {_files.kind(name) for name in source.files}
    if kinds != {"image"} or (output is not None and len(source.files) > 1):
        raise UsageError(
            f"These files cannot be looked at together. Expected "
            f"{'one image, for one picture' if output else 'images alone'}. "
            f"Received: {len(source.files)} files, such as {source.files[0]}."
        )


def _drawn(
    told: Iterable[_tiles.Told], output: pathlib.Path | None
) -> Iterator["_Told"]:
    """Each answer, once its picture is written."""
    for item in told:
        if isinstance(item, Refusal):
            yield item
            continue
        row, outputs, image = item
        if output is not None:
            found = _boxes.from_outputs(outputs).at_least(_boxes.SHOWN_SCORE)
            _boxes.write(output, image, found)
        yield row, outputs


def _typed(given: str, signature: SignatureInfo) -> Row:
    """The only instance, with the text itself as its name."""
    alias = _lines.text_alias(signature) or ""
    text = os.fsencode(given)
    key = text.decode("utf-8", "replace")
    return Row(key, key, None, {alias: np.array(text, object)})


_Told = Refusal | tuple[Row, dict[str, np.ndarray]]


def _rows(answers: Iterable[_scorer.Answer | Refusal]) -> Iterator[_Told]:
    """Each instance by itself, with its outputs."""
    for answer in answers:
        if isinstance(answer, Refusal):
            yield answer
            continue
        for index, row in enumerate(answer.batch.rows):
            yield row, {a: array[index, ...] for a, array in answer.outputs.items()}


def _print(told: Iterator[_Told]) -> int:
    """Prints as the answers come; returns the exit code."""
    refused = False
    first: _Told | None = next(told, None)
    second: _Told | None = next(told, None)
    show = _answer_text.one if second is None else _answer_text.line
    for item in (first, second, *told):
        if isinstance(item, Refusal):
            place = item.file if item.row is None else f"{item.file}, row {item.row}"
            print(f"refused: {place}: {item.reason}", file=sys.stderr)
            refused = True
        elif item is not None:
            row, outputs = item
            print(show(row.key if second or row.row is None else row.file, outputs))
    return 1 if refused else 0


def _parser() -> argparse.ArgumentParser:
    parser = _cli.parser(__doc__)
    _cli.add_model(parser)
    parser.add_argument(
        "--input",
        metavar="PATH",
        required=True,
        help="file, folder or quoted pattern of files that end in "
        f"{_files.ENDINGS}, or a .json file: instances, or a whole REST request; "
        "or a text, for a model that takes one",
    )
    parser.add_argument(
        "--server",
        metavar="HOST:PORT",
        default="127.0.0.1:8500",
        help="gRPC address",
    )
    parser.add_argument(
        "--output",
        metavar="PATH",
        help="picture to draw: the image with the objects that were found (.png .jpg)",
    )
    parser.add_argument(
        "--tile",
        type=whole_number,
        metavar="PIXELS",
        help="side of the tiles that a large photo is cut into to find objects; 0 for "
        "none (default: as the model is made)",
    )
    _cli.add_version(parser)
    parser.add_argument(
        "--signature", metavar="NAME", help="signature (default: serving_default)"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

"""Scores files with an exported version, without a server."""

import argparse
import gc
import pathlib
from collections.abc import Sequence

from pipelines import _batches, _cli, _inputs, _outputs, _readers, _scorer, _sources
from pipelines._progress import Progress
from savedmodels import store
from serving import servable


@_cli.command
def main(argv: Sequence[str]) -> int:
    """Runs files -> instances -> batches -> servable -> output, and sums up."""
    arguments = _parser().parse_args(argv)
    output_path = pathlib.Path(arguments.output)
    # What costs nothing first: a slip of the keyboard is told before a model is loaded.
    _outputs.check_path(output_path)
    source = _sources.find(
        arguments.input, leave_out=[output_path, _outputs.errors_path(output_path)]
    )
    path = store.version_path(
        pathlib.Path(arguments.store) / arguments.model, arguments.version
    )
    loaded = servable.load(
        path, arguments.model, int(path.name), only=[arguments.signature]
    )
    # TensorFlow is half a million objects that each full collection would walk.
    gc.collect()
    gc.freeze()
    signature = _inputs.find_signature(
        loaded.signatures, arguments.signature, f"Version {loaded.version}"
    )
    largest = _batches.largest_batch(signature, arguments.batch_size)
    _sources.preview(source, signature)
    with (
        _outputs.ScoresFile(output_path, signature) as output,
        Progress(_sources.count(source, signature), "rows") as progress,
    ):
        rows = _sources.read(source, signature, progress.note)
        _scorer.score(loaded, arguments.signature, rows, output, progress, largest)
        seconds = progress.seconds
    _print_summary(loaded, arguments, source, output, seconds)
    return 1 if output.refused else 0


def _parser() -> argparse.ArgumentParser:
    parser = _cli.parser(__doc__)
    _cli.add_model(parser)
    parser.add_argument(
        "--input",
        metavar="PATH",
        required=True,
        help=f"file, folder or quoted pattern of files that end in {_readers.ENDINGS}",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        required=True,
        help="file to write, ends in .jsonl or .csv",
    )
    _cli.add_store(parser)
    _cli.add_version(parser)
    parser.add_argument(
        "--signature",
        metavar="NAME",
        default=servable.DEFAULT_SIGNATURE,
        help="signature",
    )
    parser.add_argument(
        "--batch-size",
        metavar="ROWS",
        type=_batch_size,
        default="auto",
        help="rows run at once; auto: 128, or fewer if they are large",
    )
    parser.epilog = (
        "Ends with 0 if every row was scored, with 1 if some were refused (listed in "
        "<output>.errors.jsonl; all others have scores), with 2 if what was typed does "
        "not fit, and then writes nothing."
    )
    return parser


def _batch_size(text: str) -> int | None:
    """The type of `--batch-size`: None stands for auto."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"expected `auto` or a whole number above 0, received: {text}"
        )
    return int(text)


def _print_summary(
    loaded: servable.Servable,
    arguments: argparse.Namespace,
    source: _sources.Source,
    output: _outputs.ScoresFile,
    seconds: float,
) -> None:
    rows = output.written + output.refused
    print(
        f"Scored   {output.written:,} of {rows:,} rows in {seconds:.1f} s, "
        f"{rows / max(seconds, 1e-9):,.0f} rows/s"
    )
    print(
        f"Model    {loaded.name}, version {loaded.version}, `{arguments.signature}`, "
        f"run by {loaded.engine(arguments.signature)}"
    )
    if source.others:
        print(f"Skipped  {source.others:,} by ending, which is of no known kind")
    if output.refused:
        print(
            f"Refused  {output.refused:,}, listed with the reasons in "
            f"{_outputs.errors_path(output.path)}"
        )
    print(f"Scores   {output.path}")


if __name__ == "__main__":
    raise SystemExit(main())

"""What can be typed behind `score`."""

import argparse

from pipelines import _cli, _files, _formats, _job
from serving import servable
from serving.command_line import addresses, whole_number
from serving.flag_types import positive

BEAM = ("DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner")
RUNNERS = ("local", "upstream", *BEAM)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Returns what reads the arguments of `score`."""
    parser = _cli.parser(description)
    _cli.add_model(parser)
    add = parser.add_argument
    add(
        "--input",
        metavar="PATH",
        required=True,
        help="file, folder or quoted pattern of files that end in "
        f"{_files.ENDINGS}; - for JSON lines on standard input",
    )
    add(
        "--output",
        metavar="FILE",
        required=True,
        help=f"file to write, ends in {_formats.ENDINGS}; with one * or a folder, a "
        "file for each shard; - for JSON lines on standard output",
    )
    _cli.add_store(parser)
    _cli.add_version(parser)
    add("--label", metavar="NAME", help="version by its label, with --upstream")
    add(
        "--signature",
        metavar="NAME",
        default=servable.DEFAULT_SIGNATURE,
        help="signature",
    )
    add("--key", metavar="COLUMN", help="column whose value scores are found by")
    add("--carry", metavar="A,B", type=_names, default=(), help="columns to carry over")
    add("--metrics", action="store_true", help="compare answers with --truth")
    add("--truth", metavar="COLUMN", default="label", help="column of true answers")
    add("--max-errors", metavar="ROWS", type=whole_number, help="most rows refused")
    add("--runner", choices=RUNNERS, default="local", help="what runs the shards")
    add(
        "--upstream",
        metavar="HOST:PORT,...",
        type=addresses,
        default=(),
        help="servers that answer, for --runner=upstream",
    )
    add("--workers", metavar="N", type=whole_number, help="shards at once; all cores")
    add("--shard-rows", metavar="ROWS", type=positive, help="rows of a shard")
    add(
        "--batch-size",
        metavar="ROWS",
        type=_job.batch_size,
        default="auto",
        help="rows run at once; auto: the fastest, or 128 for few rows",
    )
    parser.epilog = (
        "Ends with 0 if every row was scored; 3 if all is done, but some rows were "
        "refused (listed in errors.jsonl, or <output>.errors.jsonl); 4 if more were "
        "refused than --max-errors; 1 if it could not be finished, and the same "
        "command goes on where it was; 2 if what was typed does not fit, and then "
        "writes nothing. Options after -- go to Beam."
    )
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())

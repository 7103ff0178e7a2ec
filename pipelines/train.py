"""Trains a model on real data, checks it, and exports it as the next version.

SIGTERM ends it with code 75, which sysexits.h calls EX_TEMPFAIL: nothing is wrong, and
the same command goes on where it was.
"""

import argparse
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines import _cli
from trainers import _catalog, _speed
from trainers._errors import PreemptedError

if TYPE_CHECKING:
    from savedmodels.export import ExportedVersion
    from trainers._fit import Fitted


@_cli.command
def main(argv: Sequence[str]) -> int:
    """Runs data set -> fit -> test metrics -> export, and says where it all is."""
    arguments = make_parser(__doc__).parse_args(argv)
    try:
        return _run(arguments)
    except (PreemptedError, _cli.Terminated) as stop:
        told = str(stop) or "Stopped by SIGTERM"
        print(f"{told}: resume with the same command", file=sys.stderr)
        return os.EX_TEMPFAIL


def _run(arguments: argparse.Namespace) -> int:
    """Trains and exports what was asked for."""
    started = time.monotonic()
    _speed.prepare(arguments.strategy, arguments.devices)
    # Names first: a slip of the keyboard is told before anything slow.
    if arguments.dataset:
        _catalog.check_dataset(arguments.dataset)
    module = _catalog.load_model(arguments.model)

    from pipelines import _examples
    from savedmodels import export, paths, provenance, staging
    from trainers import _config, _devices, _fit
    from trainers.datasets import _load

    _devices.use(arguments.devices)
    config = _config.override(module.Config(), _assignments(arguments))
    base_path = paths.of(arguments.store) / arguments.model
    staging.check_writable(base_path)  # told now, not after the training
    fitted = _fit.fit(
        module,
        config,
        runs=paths.of(arguments.runs),
        strategy=arguments.strategy,
        tpu=arguments.tpu,
        profile=arguments.profile,
    )
    if fitted is None:
        return 0  # another worker is the chief, which does the rest
    examples = module.make_examples(config)
    exported = export.export(
        fitted.model,
        fitted.signatures,
        base_path,
        examples=examples,
        provenance=provenance.collect(
            config=_config.as_dict(config),
            metrics=fitted.metrics,
            dataset=_load.facts(config.dataset, config.datasets_dir),
            training_seconds=fitted.seconds,
            # Set by a model that begins with somebody else's weights.
            started_from=getattr(fitted.model, "started_from", None),
            statistics=fitted.statistics,
        ),
    )
    fitted.run.finish(exported.path)
    first = _examples.write(
        pathlib.Path(arguments.examples), arguments.model, examples["serving_default"]
    )
    minutes = (time.monotonic() - started) / 60
    for label, value in _summary(arguments, fitted, exported, first, minutes):
        print(f"{label:26} {value}".rstrip())
    return 0


def _assignments(arguments: argparse.Namespace) -> list[str]:
    """What was typed, as `field=value` for the Config; `--set` has the last word."""
    named = {"datasets_dir": arguments.datasets, "dataset": arguments.dataset}
    given = [f"{field}={value}" for field, value in named.items() if value]
    return [*given, *arguments.set]


def _summary(
    arguments: argparse.Namespace,
    fitted: "Fitted",
    exported: "ExportedVersion",
    example: pathlib.Path,
    minutes: float,
) -> list[tuple[str, str]]:
    """Label and value of every line that ends a training."""
    metrics = [
        (f"test {name.replace('_', ' ')}", _shown(name, value))
        for name, value in fitted.metrics.items()
        if "/" not in name  # those of single classes stand in metrics.json
    ]
    run = fitted.run.path
    return [
        ("", ""),
        (arguments.model, f"version {exported.version}"),
        *metrics,
        ("minutes", f"{minutes:.1f}, of which {fitted.seconds / 60:.1f} in epochs"),
        ("examples/s", f"{fitted.examples_per_second:,.0f}"),
        ("version in", str(exported.path)),
        ("TensorBoard in", f"{run / 'logs'}: make tensorboard"),
        ("pictures in", str(run / "report.png")),
        ("next", "make serve, and then in another terminal"),
        ("", f"make predict MODEL={arguments.model} INPUT={example}"),
    ]


def _shown(metric: str, value: float) -> str:
    if metric == "accuracy":
        return f"{value:.2%}"
    # Small errors would lose their digits.
    return f"{value:.4f}" if value >= 0.01 else f"{value:.3g}"


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Returns the flags of a training, for every command that starts some.

    Args:
        description: What the command does, in its first line.
    """
    parser = _cli.parser(description)
    _cli.add_model(parser)
    _cli.add_store(parser)
    parser.add_argument(
        "--runs", metavar="DIR", default=_cli.RUNS, help="folder of training runs"
    )
    _cli.add_datasets(parser)
    parser.add_argument(
        "--examples",
        metavar="DIR",
        default=_cli.EXAMPLES,
        help="folder for requests to try",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="another data set: a name, or tfds:<name>; several texts with + between",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="one field of the model's Config, as in epochs=2; may be repeated",
    )
    parser.add_argument(
        "--strategy",
        metavar="NAME",
        default="auto",
        help="default: one device; mirrored: all devices; multi_worker: the processes "
        "that TF_CONFIG names; tpu; auto: what there is",
    )
    parser.add_argument(
        "--tpu",
        metavar="ADDRESS",
        help="train on this TPU: local, grpc://host:port, or its name in the cloud",
    )
    parser.add_argument(
        "--devices",
        metavar="NAME",
        default="auto",
        help="auto: all; cpu; cpu:4, the CPU in four parts, to try several; gpu:2",
    )
    parser.add_argument(
        "--profile", action="store_true", help="profile some steps for TensorBoard"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

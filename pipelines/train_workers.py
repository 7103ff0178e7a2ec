"""Trains a model in several processes of this machine, as on several machines."""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from pipelines import _cli, _worker_processes, train
from savedmodels.errors import UsageError
from serving.command_line import whole_number
from trainers import _catalog, _tf_config

LOGS = "artifacts/logs"
# A training that was told to end, and goes on when the command is given again.
EXIT_RESUME_ME = os.EX_TEMPFAIL

_VISIBLE = "CUDA_VISIBLE_DEVICES"


@_cli.command
def main(argv: Sequence[str]) -> int:
    """Starts the workers, shows what the first says, and ends when one ends badly."""
    arguments, passed_on = _parsed(argv)
    _catalog.check_model(arguments.model)
    if arguments.strategy not in ("auto", "multi_worker"):
        raise UsageError(
            "Several workers are a strategy of their own. Expected `multi_worker`. "
            f"Received: --strategy={arguments.strategy}."
        )
    shares = _shares_of_gpus(arguments.workers, arguments.devices)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = pathlib.Path(arguments.logs) / f"{arguments.model}-{stamp}-{os.getpid()}"
    command = [sys.executable, "-m", "pipelines.train", *passed_on]
    with (
        _worker_processes.addresses(arguments.workers) as addresses,
        _worker_processes.Workers(folder) as workers,
    ):
        print(f"{arguments.workers} workers, logs in {folder}", flush=True)
        try:
            for place, share in enumerate(shares):
                config = {_tf_config.VARIABLE: _tf_config.written(addresses, place)}
                workers.start(command, _worker_processes.environment() | share | config)
            workers.wait()
        except KeyboardInterrupt as interruption:
            was_terminated = isinstance(interruption, _cli.Terminated)
            number = signal.SIGTERM if was_terminated else signal.SIGINT
            if EXIT_RESUME_ME in workers.end(number):
                return EXIT_RESUME_ME
            raise
    return 0


def _parsed(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """What was typed, and those arguments of it that every worker gets."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    _add_own(own)
    everything = train.make_parser(__doc__)
    _add_own(everything)
    # Once for mistakes, and once for what is left.
    return everything.parse_args(argv), own.parse_known_args(argv)[1]


def _add_own(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=_number_of_workers,
        metavar="N",
        default=2,
        help="processes that train together",
    )
    parser.add_argument(
        "--logs", metavar="DIR", default=LOGS, help="folder for the logs of workers"
    )


def _number_of_workers(text: str) -> int:
    number = whole_number(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"1 or more were expected. Received: {text}")
    return number


def _shares_of_gpus(workers: int, devices: str) -> list[dict[str, str]]:
    """Which GPUs each worker sees: no two can train on the same one.

    Raises:
        UsageError: There are fewer GPUs than workers.
    """
    gpus = [] if devices.startswith("cpu") else _gpus()
    if not gpus:
        return [{}] * workers
    each = len(gpus) // workers
    if not each:
        raise UsageError(
            f"There are fewer GPUs than workers. Expected one at least for each, or "
            f"--devices=cpu. Received: {workers} workers, {len(gpus)} GPUs."
        )
    return [
        {_VISIBLE: ",".join(gpus[place * each : (place + 1) * each])}
        for place in range(workers)
    ]


def _gpus() -> list[str]:
    """What to call each GPU that this process may use, without TensorFlow."""
    if (visible := os.environ.get(_VISIBLE)) is not None:
        return [gpu for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    lines = [line for line in told.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(lines))]


if __name__ == "__main__":
    raise SystemExit(main())

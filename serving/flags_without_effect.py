"""Flags of TF Serving for things that do not exist here: read, and warned about.

A command line written for `tensorflow_model_server` starts this server too; what it
asks for in vain is one line in the log each.
"""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

from serving.flag_types import switch


@dataclasses.dataclass(frozen=True, slots=True)
class _Flag:
    """One flag: its type, the value that asks for nothing, and why it has no effect."""

    name: str
    kind: Callable[[str], Any]
    neutral: Any
    reason: str


_OTHER_THREADS = "calls wait on one event loop, not in threads"
_ONE_INTERPRETER = "as many LiteRT interpreters are made as run at the same time"
_NOT_XLA = "XLA compiles what a SavedModel marks for it, and nothing else"
_TENSORFLOW = "TensorFlow runs with its own settings"

_FLAGS = (
    _Flag("rest_api_num_threads", int, None, _OTHER_THREADS),
    _Flag("grpc_max_threads", int, None, _OTHER_THREADS),
    _Flag(
        "num_unload_threads", int, 0, "versions are unloaded by the threads that load"
    ),
    _Flag("flush_filesystem_caches", switch, False, "files are read by TensorFlow"),
    _Flag("tensorflow_session_config_file", str, "", _TENSORFLOW),
    _Flag("platform_config_file", str, "", "there is one platform, and it is set"),
    _Flag("per_process_gpu_memory_fraction", float, 0.0, _TENSORFLOW),
    _Flag(
        "remove_unused_fields_from_bundle_metagraph",
        switch,
        True,
        "nothing of the MetaGraph is kept that could be removed",
    ),
    _Flag("num_tflite_pools", int, None, _ONE_INTERPRETER),
    _Flag("num_tflite_interpreters_per_pool", int, None, _ONE_INTERPRETER),
    _Flag("xla_cpu_compilation_enabled", switch, False, _NOT_XLA),
    _Flag("xla_gpu_compilation_enabled", switch, False, _NOT_XLA),
    _Flag(
        "thread_pool_factory_config_file", str, "", "there are no thread pool factories"
    ),
    _Flag("mixed_precision", str, "", "graphs run in the precision they have"),
    _Flag("skip_initialize_tpu", switch, True, "there are no TPUs"),
    _Flag(
        "use_alts_credentials",
        switch,
        False,
        "there is no ALTS: CALLS ARE NOT ENCRYPTED",
    ),
)


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds them to a parser, with None for those that are not given."""
    add = parser.add_argument_group("TF Serving's, without effect here").add_argument
    for flag in _FLAGS:
        if flag.kind is switch:
            add(
                f"--{flag.name}",
                type=switch,
                nargs="?",
                const=True,
                metavar="true|false",
                help=flag.reason,
            )
        else:
            add(f"--{flag.name}", type=flag.kind, metavar="VALUE", help=flag.reason)


def warnings(flags: argparse.Namespace) -> list[str]:
    """Returns a line for each flag that was given and asks for something."""
    lines = []
    for flag in _FLAGS:
        value = getattr(flags, flag.name)
        if value is not None and value != flag.neutral:
            lines.append(f"--{flag.name} has no effect: {flag.reason}.")
    return lines

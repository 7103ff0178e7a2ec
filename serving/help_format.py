"""How `--help` of the server and of every command looks."""

import argparse
import pathlib


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults of flags that have one, and short names of their values."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        # None and [] are how argparse says "nothing"; a flag without a value is off.
        is_on_off = action.nargs == 0
        if is_on_off or action.default is None or action.default == []:
            return action.help
        return super()._get_help_string(action)

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        if action.type is None:
            return super()._get_default_metavar_for_optional(action)
        return "DIR" if action.type is pathlib.Path else "N"

"""What stops a command, as one clear message instead of a traceback.

MaaskitError                   exit 1   the work could not be done
  UsageError                   exit 2   what was typed is wrong: a name, a field, a file
    VersionNotFoundError                no such model or version in the store
  SignatureError                        signatures that cannot be exported
  ExportError                           the version was not written, or failed its check

A command prints `str(error)` and ends with the class's `exit_code`; any other
exception is a bug and keeps its traceback.
"""


class MaaskitError(Exception):
    """Work that could not be done. `str(error)` says why and what to type next."""

    exit_code = 1


class UsageError(MaaskitError):
    """What the person typed does not name or fit anything there is."""

    exit_code = 2


class VersionNotFoundError(UsageError):
    """The store holds no such model, or no such version of it."""


class SignatureError(MaaskitError):
    """The signatures do not keep the contract that every servable keeps."""


class ExportError(MaaskitError):
    """The version could not be written, or failed the check before publishing."""

"""What is known of each version of a model, and what should happen to it next."""

import dataclasses
import pathlib
from typing import Generic, Protocol, TypeVar

from serving.errors import ServingError
from serving.predictor import VersionStatus
from serving.version_policy import LATEST, VersionPolicy

START, LOADING, AVAILABLE = "START", "LOADING", "AVAILABLE"
UNLOADING, END = "UNLOADING", "END"

# Name, size and time of change of each file of a version.
Files = frozenset[tuple[str, int, int]]


class Closeable(Protocol):
    """What a version becomes once it is loaded."""

    def close(self) -> None:
        """Frees it; nothing uses it any more."""
        ...


T = TypeVar("T", bound=Closeable)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WatchOptions:
    """When to look and what to keep; names and defaults are TF Serving's flags.

    Attributes:
        file_system_poll_wait_seconds: Seconds between looks at the folders; 0 looks
            once, and again where the models to serve change; less never looks.
        max_num_load_retries: Further tries of a version that fails to load, besides
            those after its files changed.
        load_retry_interval_seconds: Seconds between such tries.
        num_load_threads: Versions that load at the same time.
    """

    file_system_poll_wait_seconds: float = 1.0
    max_num_load_retries: int = 5
    load_retry_interval_seconds: float = 60.0
    num_load_threads: int = 2


@dataclasses.dataclass(slots=True, eq=False)
class Version(Generic[T]):
    """One version.

    Attributes:
        name: Model name.
        number: Version number.
        path: Its folder.
        state: One of the five above.
        loaded: What it was loaded as, while AVAILABLE or UNLOADING.
        calls: Calls that use it now.
        error: Why its last load failed, or None.
        failures: Loads in a row that failed on the same files.
        retry_at: Time of the monotonic clock for the next try, after a failure.
        files: Its files when the last load began.
        files_seen: Its files at the last look after a failure.
    """

    name: str
    number: int
    path: pathlib.Path
    state: str = END
    loaded: T | None = None
    calls: int = 0
    error: ServingError | None = None
    failures: int = 0
    retry_at: float = 0.0
    files: Files = frozenset()
    files_seen: Files = frozenset()

    @property
    def status(self) -> VersionStatus:
        """Its state in TF Serving's words."""
        if self.error is None:
            return VersionStatus(self.number, self.state)
        code = self.error.grpc_code.name
        return VersionStatus(self.number, self.state, code, str(self.error))

    def has_failed(self) -> bool:
        """Whether its last load failed, and no other was begun."""
        return self.state == END and self.error is not None

    def is_due(self, files: Files, now: float, options: WatchOptions) -> bool:
        """Whether a version that failed should be tried again.

        Files that changed are the better reason, once they are the same at two looks:
        a copy that is still running is left alone.

        Args:
            files: Its files now.
            now: Time of the monotonic clock, seconds.
            options: Tries and the interval between them.
        """
        settled, self.files_seen = files == self.files_seen, files
        if files != self.files:
            return settled
        return self.failures <= options.max_num_load_retries and now >= self.retry_at


@dataclasses.dataclass(slots=True, eq=False)
class Model(Generic[T]):
    """All versions of one model.

    Attributes:
        versions: By number: those on disk, and those that were.
        on_disk: Numbers that the last look found.
        policy: Which of them should be loaded.
        problem: What is wrong with its folder, or "".
    """

    versions: dict[int, Version[T]] = dataclasses.field(default_factory=dict)
    on_disk: set[int] = dataclasses.field(default_factory=set)
    policy: VersionPolicy = LATEST
    problem: str = ""

    def available(self) -> list[Version[T]]:
        """The versions that answer, newest first."""
        found = [v for v in self.versions.values() if v.state == AVAILABLE]
        return sorted(found, key=lambda version: -version.number)

    def answering(self, number: int | None = None) -> Version[T] | None:
        """The version that answers by this number, or the newest; None for none."""
        if number is not None:
            found = self.versions.get(number)
            return found if found and found.state == AVAILABLE else None
        newest = None
        for version in self.versions.values():  # for each call: no list is sorted
            if version.state == AVAILABLE and (
                newest is None or version.number > newest.number
            ):
                newest = version
        return newest

    def is_over(self) -> bool:
        """Whether nothing of it is on disk or loaded any more."""
        return not self.on_disk and all(v.state == END for v in self.versions.values())

    def is_settled(self) -> bool:
        """Whether nothing of it waits to be loaded."""
        waiting = any(v.state in (START, LOADING) for v in self.versions.values())
        return not waiting and all(v.state == AVAILABLE for v in self.wanted())

    def wanted(self) -> list[Version[T]]:
        """The versions that should be loaded, passing over those that fail to."""
        sound = [n for n in self.on_disk if not self.versions[n].has_failed()]
        return [self.versions[number] for number in self.policy.choose(sound)]

    def unneeded(self) -> list[Version[T]]:
        """The versions that may go; the last live one only if another has taken over.

        Of several that are not wanted any more the newest stays for that long.
        """
        wanted = self.wanted()
        spare = [version for version in self.available() if version not in wanted]
        taken_over = any(version.state == AVAILABLE for version in wanted)
        is_over = not self.policy.choose(self.on_disk)
        return spare if taken_over or is_over else spare[1:]

"""What is loaded with a version's first call: once, whoever waits for how long."""

import asyncio
import threading

import pytest

from serving.errors import DeadlineExceededError, ServingError
from serving.loaded_version import LoadedVersion


class Slow:
    """A servable whose signature is loaded when the test says so."""

    def __init__(self):
        self.go_on = threading.Event()
        self.loads = 0
        self.error = None

    def prepare(self, signature_name):
        self.loads += 1
        self.go_on.wait(30)
        if self.error:
            raise self.error


def test_all_calls_wait_for_one_load_and_a_late_one_gives_up_alone():
    slow = Slow()

    async def ask():
        loaded = LoadedVersion(slow, None)
        waiting = [asyncio.create_task(loaded.prepare("s", None)) for _ in range(20)]
        with pytest.raises(DeadlineExceededError, match="after 0.05 seconds"):
            await loaded.prepare("s", 0.05)
        slow.go_on.set()
        await asyncio.gather(*waiting)

    asyncio.run(ask())
    assert slow.loads == 1


def test_a_load_that_fails_is_told_to_all_and_tried_again():
    slow = Slow()
    slow.error = ServingError("no")

    async def ask():
        loaded = LoadedVersion(slow, None)
        waiting = [asyncio.create_task(loaded.prepare("s", 9)) for _ in range(3)]
        await asyncio.sleep(0)
        slow.go_on.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert found == [slow.error] * 3
        slow.error = None
        await loaded.prepare("s", None)

    asyncio.run(ask())
    assert slow.loads == 2

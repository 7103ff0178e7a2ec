"""What pip asks instead of an sdist's own build code, so that none of it runs.

pip builds an sdist's metadata even where it only downloads. That would run the
package's `setup.py`. `_package.py` puts this module in the place of setuptools, in
pip's process alone: it repeats the metadata that the sdist carries in `PKG-INFO`.
It knows the standard library only, for a copy of it runs by itself.
"""

import email
import pathlib


def get_requires_for_build_wheel(config_settings: dict | None = None) -> list[str]:
    """Returns no requirement: nothing is going to be built."""
    del config_settings
    return []


def prepare_metadata_for_build_wheel(
    metadata_directory: str, config_settings: dict | None = None
) -> str:
    """Writes the sdist's metadata, as PEP 517 asks, and returns its folder's name.

    Args:
        metadata_directory: Folder to write into; the current one is the sdist's.
        config_settings: Ignored.
    """
    del config_settings
    metadata = pathlib.Path("PKG-INFO").read_text(encoding="utf-8")
    fields = email.message_from_string(metadata)
    # pip compares this name with what it was asked for.
    name = f"{fields['Name'].replace('-', '_')}-{fields['Version']}.dist-info"
    folder = pathlib.Path(metadata_directory) / name
    folder.mkdir()
    (folder / "METADATA").write_text(metadata, encoding="utf-8")
    return name


class _Legacy:
    """The hooks under the name that sdists without `pyproject.toml` are asked by."""

    get_requires_for_build_wheel = staticmethod(get_requires_for_build_wheel)
    prepare_metadata_for_build_wheel = staticmethod(prepare_metadata_for_build_wheel)


__legacy__ = _Legacy()

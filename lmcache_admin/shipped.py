"""Folders that are shipped with the package as content: `blueprints` and `conf`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["shipped_folder"]


def shipped_folder(name: str) -> Path:
    """Find a shipped folder: inside the package when installed, else beside it (checkout, editable install).

    Args:
        name: `blueprints` or `conf`.

    Raises:
        FileNotFoundError: The installation lacks the folder; the message names both places.
    """
    package = Path(__file__).resolve().parent
    places = [package / name, package.parent / name]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"no folder {name!r}: looked at {places[0]} and {places[1]}")

"""A result that is bytes already."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Content:
    """A result that has its own content type, such as a metrics exposition."""

    payload: bytes
    content_type: str

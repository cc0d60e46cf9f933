"""Secrets in the labels of a metrics exposition: each set of labels is looked at once, since scrapes repeat them."""

from __future__ import annotations

import re
from collections.abc import Callable

#: Masks a value under its name.
Mask = Callable[[str, str], str]

_LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"(?:,|\Z)')
_ESCAPED = re.compile(r"\\(.)")
_MEANT = {"n": "\n"}
_WRITTEN = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class LabelMask:
    """Masks the label values of expositions in Prometheus' text format; what is not in the next one is forgotten.

    Args:
        mask: Masks the value of a label under the label's name.
    """

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._known: dict[bytes, bytes] = {}

    def apply(self, payload: bytes) -> bytes:
        """Return the exposition without secrets in its labels; one call at a time."""
        lines = payload.split(b"\n")
        known: dict[bytes, bytes] = {}
        for number, line in enumerate(lines):
            begin, end = line.find(b"{"), line.rfind(b"} ")
            if not 0 <= begin < end or line.startswith(b"#"):
                continue
            labels = line[begin + 1 : end]
            masked = known.get(labels) or self._known.get(labels)
            if masked is None:
                masked = self._masked(labels.decode()).encode()
            known[labels] = masked
            if masked != labels:
                lines[number] = line[: begin + 1] + masked + line[end:]
        self._known = known
        return b"\n".join(lines)

    def _masked(self, labels: str) -> str:
        pairs = _LABEL.findall(labels)
        if sum(len(name) + len(value) + 4 for name, value in pairs) - 1 != len(labels):
            return ""  # in no form that we know: nothing of it is shown
        return ",".join(f'{name}="{self._value(name, value)}"' for name, value in pairs)

    def _value(self, name: str, written: str) -> str:
        meant = _ESCAPED.sub(lambda sign: _MEANT.get(sign[1], sign[1]), written)
        return self._mask(meant, name).translate(_WRITTEN)

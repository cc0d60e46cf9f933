"""Messages on a stream: four bytes of length, then so many bytes of JSON; of bounded size."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

MAX_FRAME = 2**20  # bytes of JSON; 32,768 hashes of 20 digits are 700,000
PIECE = 65_536

_LENGTH = struct.Struct("!I")


class FrameError(Exception):
    """What came is no message of ours, or one is too long to be sent."""


def frame(message: dict[str, Any]) -> bytes:
    """A message as it goes over the wire.

    Raises:
        FrameError: It is too long.
    """
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MAX_FRAME:
        raise FrameError(f"a message of {len(body)} bytes; {MAX_FRAME} are allowed")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Puts together what comes in pieces."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def begun(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._data)

    def feed(self, piece: bytes) -> list[dict[str, Any]]:
        """Take a piece; the messages that it completes.

        Raises:
            FrameError: A message that is too long, or no JSON object.
        """
        self._data += piece
        found = []
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            if length > MAX_FRAME:
                raise FrameError(f"a message of {length} bytes; {MAX_FRAME} are allowed")
            end = _LENGTH.size + length
            if len(self._data) < end:
                break
            found.append(_parsed(bytes(self._data[_LENGTH.size : end])))
            del self._data[:end]
        return found


def left(deadline: float) -> float:
    """Seconds until `deadline` (`time.monotonic`).

    Raises:
        TimeoutError: None.
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError(0, "Timed out")
    return seconds


def send(sock: socket.socket, message: bytes, deadline: float) -> None:
    """Send a frame until `deadline` (`time.monotonic`).

    Raises:
        OSError: The other end is gone, or the time is over.
    """
    sock.settimeout(left(deadline))
    sock.sendall(message)


def receive(sock: socket.socket, deadline: float) -> dict[str, Any]:
    """Receive the one message that answers what was sent.

    Raises:
        OSError: The other end is gone, or the time is over.
        FrameError: No message of ours.
    """
    reader = FrameReader()
    while True:
        sock.settimeout(left(deadline))
        piece = sock.recv(PIECE)
        if not piece:
            raise ConnectionResetError(0, "Closed by the other end")
        messages = reader.feed(piece)
        if messages:
            return messages[0]


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"no JSON: {type(error).__name__}") from None
    if not isinstance(message, dict):
        raise FrameError("no JSON object")
    return message

"""A chunk as LMCache's stores hold it: a header of seven numbers, the payload, and a checksum of ours beside.

Source: LMCache 0.5.6, serde `naive`, chunks of one layer group.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from lmcache_admin.engine.chunks import Chunk, Layout
from lmcache_admin.engine.errors import CorruptChunkError, NewerFormatError, UnsuitableChunkError

Payload = bytes | bytearray | memoryview

HEADER = struct.Struct("<7i")  # payload bytes, memory format, element type, planes, layers, tokens, width
FORMATS = {2: 1, 1: 6}  # planes to LMCache's number: keys and values apart, or MLA
DTYPE_NUMBERS = {
    "half": 2,
    "bfloat16": 3,
    "float": 4,
    "double": 5,
    "uint8": 6,
    "fp8_e4m3fn": 7,
    "fp8_e5m2": 8,
}
DTYPES = {1: "half", **{number: name for name, number in DTYPE_NUMBERS.items()}}
RECORD_FORMAT = 1


@dataclass(frozen=True)
class Form:
    """How the chunks of one store look.

    Args:
        layout: The only layout that is taken; None takes any that a header describes.
        headers: Whether a header stands with each payload; without, the layout has to be known.
        chunk_size: Tokens of a whole chunk.
        whole_only: Whether a shorter chunk than that is refused.
    """

    layout: Layout | None
    headers: bool
    chunk_size: int
    whole_only: bool

    def header(self, chunk: Chunk) -> bytes:
        """The header of a chunk, empty in a store without headers.

        Raises:
            UnsuitableChunkError: The header has no number for the chunk's element type.
        """
        if not self.headers:
            return b""
        planes, layers, width, dtype = chunk.layout
        if dtype not in DTYPE_NUMBERS:
            raise UnsuitableChunkError(f"LMCache's chunk header has no number for the element type {dtype}")
        return HEADER.pack(chunk.nbytes, FORMATS[planes], DTYPE_NUMBERS[dtype], planes, layers, chunk.tokens, width)

    def expects(self, header: bytes, room: int) -> None:
        """Judge what stands there before the payload is read.

        Args:
            header: What stands there in place of a header; empty in a store without headers.
            room: Bytes that do follow.

        Raises:
            CorruptChunkError: Something of this store's form that is not all there.
            UnsuitableChunkError: Something of another form.
        """
        if not self.headers:
            self._tokens_alone(room)
            return
        if len(header) < HEADER.size and room == 0:
            raise CorruptChunkError("shorter than a header")
        layout, tokens, nbytes = _described(header)
        self._judge_layout(layout)
        if self.layout is not None and tokens > self.chunk_size:  # of up to 2 GiB, which would all be read
            raise UnsuitableChunkError(f"{tokens} tokens; a chunk of this engine has {self.chunk_size} at most")
        if nbytes != layout.nbytes(tokens) or nbytes != room:
            raise CorruptChunkError(f"{room} bytes follow a header that says {nbytes}, {tokens} tokens of {layout}")

    def decode(self, header: bytes, payload: Payload, record: Record | None, *, probe: bool = False) -> Chunk:
        """Check what was read and make a chunk of it.

        Args:
            header: Empty in a store without headers.
            payload: Its bytes.
            record: The checksum that was written with it, None to go without.
            probe: Whether it is a health probe's, which is of any length.

        Raises:
            CorruptChunkError: It contradicts its checksum or its header.
            UnsuitableChunkError: It is of another layout or form.
        """
        if record is not None and not record.fits(header, payload):
            raise CorruptChunkError("does not match its checksum")
        if self.headers:
            self.expects(header, len(payload))
            layout, tokens, _ = _described(header)
        else:
            tokens = self._tokens_alone(len(payload), probe=probe)
            layout = self._known_layout()
        return Chunk(layout, tokens, memoryview(payload).toreadonly())

    def admit(self, chunk: Chunk, *, probe: bool) -> None:
        """Refuse a chunk that this store does not take.

        Raises:
            UnsuitableChunkError: It is of another layout, or shorter than a whole one.
        """
        self._judge_layout(chunk.layout)
        if self.whole_only and not probe and chunk.tokens != self.chunk_size:
            raise UnsuitableChunkError(f"{chunk.tokens} tokens; only whole chunks of {self.chunk_size} are kept here")

    def tokens(self, header: bytes | None, room: int) -> int:
        """Tokens of a chunk by its header, or by its size where there are none; 0 where that cannot be told."""
        try:
            return _described(header or b"")[1] if self.headers else self._tokens_alone(room)
        except UnsuitableChunkError:
            return 0

    def _known_layout(self) -> Layout:
        if self.layout is None:
            raise UnsuitableChunkError("payloads stand alone here, and their layout is not known")
        return self.layout

    def _judge_layout(self, layout: Layout) -> None:
        if self.layout not in (None, layout):
            raise UnsuitableChunkError(f"another layout: {layout}, not {self.layout}")

    def _tokens_alone(self, room: int, *, probe: bool = False) -> int:
        tokens, rest = divmod(room, self._known_layout().nbytes(1))
        if rest or not 1 <= tokens <= self.chunk_size or (self.whole_only and not probe and tokens < self.chunk_size):
            raise UnsuitableChunkError(f"{room} bytes are no chunk of {self.chunk_size} tokens of {self.layout}")
        return tokens


@dataclass(frozen=True)
class Record:
    """A checksum of ours, written beside a chunk.

    Args:
        crc: CRC-32 of header and payload.
        nbytes: Their length together.
        writing: What else tells which writing of the chunk is meant, in words of the store.
    """

    crc: int
    nbytes: int
    writing: str = "-"

    @classmethod
    def of(cls, header: bytes, payload: Payload, writing: str = "-") -> Record:
        """The checksum of a header and a payload."""
        return cls(zlib.crc32(payload, zlib.crc32(header)), len(header) + len(payload), writing)

    @classmethod
    def parse(cls, text: bytes | str | None) -> Record | None:
        """Read what `text` made; None for nothing and for what is no record (a crash may leave a part of one).

        Raises:
            NewerFormatError: A later version wrote it.
        """
        shown = text.decode("ascii", "replace") if isinstance(text, bytes) else text or ""
        parts = shown.rstrip("\n").split(" ")
        if len(parts) >= 2 and parts[0].isdecimal() and int(parts[0]) > RECORD_FORMAT:
            raise NewerFormatError(f"checksum of format {parts[0]}; this version reads up to {RECORD_FORMAT}")
        if len(parts) != 4 or not shown.endswith("\n") or parts[0] != str(RECORD_FORMAT):
            return None
        try:
            return cls(int(parts[1], 16), int(parts[2]), parts[3])
        except ValueError:
            return None

    @property
    def text(self) -> str:
        """One line: format number, checksum, length, writing."""
        return f"{RECORD_FORMAT} {self.crc:08x} {self.nbytes} {self.writing}\n"

    def fits(self, header: bytes, payload: Payload) -> bool:
        """Whether these are the bytes that the checksum was made of."""
        return Record.of(header, payload, self.writing) == self


def _described(header: bytes) -> tuple[Layout, int, int]:
    """Layout, tokens and payload bytes that a header tells."""
    if len(header) != HEADER.size:
        raise UnsuitableChunkError(f"a header of {len(header)} bytes, not {HEADER.size}")
    nbytes, form, number, planes, layers, tokens, width = HEADER.unpack(header)
    if FORMATS.get(planes) != form or number not in DTYPES or min(layers, tokens, width) < 1:
        raise UnsuitableChunkError(f"a header of another form: {HEADER.unpack(header)}")
    return Layout(planes, layers, width, DTYPES[number]), tokens, nbytes

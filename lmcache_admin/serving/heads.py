"""The first lines of an answer: status, headers, and whether the connection is kept."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from waitress.utilities import build_http_date

if TYPE_CHECKING:
    from lmcache_admin.serving.stack import Task


def response_head(task: Task) -> bytes:
    """Status line and headers of a task.

    Sets `chunked_response` when the length is not known and `close_on_finish` when the connection ends.
    Unlike waitress it keeps a connection whose answer is chunked or has no body, and leaves the names
    of the headers as they are.
    """
    lines = [f"HTTP/{task.version} {task.status}"]
    names = set()
    has_body = task.has_body
    for name, value in task.response_headers:
        lower = name.lower()
        if lower != "content-length" or has_body:
            names.add(lower)
            lines.append(f"{name}: {value}")
    if "content-length" not in names and task.content_length is not None and has_body:
        names.add("content-length")
        lines.append(f"Content-Length: {task.content_length}")
    _decide_connection(task, lines, known_end="content-length" in names or not has_body)
    if "date" not in names:
        lines.append(_date(int(task.start_time)))
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1")


def _decide_connection(task: Task, lines: list[str], known_end: bool) -> None:
    """Whether the connection is kept, and how the client learns where the answer ends."""
    wanted = task.request.headers.get("CONNECTION", "").lower()
    if task.version == "1.0":
        if wanted == "keep-alive" and known_end and not task.close_on_finish:
            lines.append("Connection: keep-alive")
            return
        task.close_on_finish = True
    else:
        if not known_end:
            lines.append("Transfer-Encoding: chunked")
            task.chunked_response = True
        if "close" in wanted:
            task.close_on_finish = True
    if task.close_on_finish:
        lines.append("Connection: close")


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return f"Date: {build_http_date(second)}"

"""Paths that are nearly those of a route."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "//conf"), ("GET", "///conf"), ("GET", "//conf/"), ("DELETE", "//cache/clear"), ("GET", "//a//b")],
)
def test_a_path_with_two_slashes_in_front_is_nobodys(service: Any, method: str, path: str) -> None:
    service.post("/cache/store?tokens_mock=0,32")
    answer = service.request(method, path)
    assert answer.status == 404
    assert repr(path) in answer.json()["message"]
    assert service.post("/cache/retrieve?tokens_mock=0,32").json()["num_retrieved"] == 32

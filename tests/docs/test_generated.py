"""Generated parts of the documentation are those that the program generates."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
GENERATE = runpy.run_path(str(DOCS / "generate.py"))


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_a_page_is_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert GENERATE["rewritten"](text) == text, "run: python docs/generate.py"


def test_a_stale_part_is_written_anew() -> None:
    page = "before\n<!-- begin settings -->\nan old row\n<!-- end settings -->\nafter\n"
    after = GENERATE["rewritten"](page)
    assert after.startswith("before\n<!-- begin settings -->\n")
    assert after.endswith("<!-- end settings -->\nafter\n")
    assert "`internal_api_server_port_start`" in after
    assert "an old row" not in after

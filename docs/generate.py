"""Rewrites the generated parts of the pages beside it; `--check` only says which of them are stale.

A generated part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from lmcache_admin.settings_reference import settings_tables

sys.path.insert(0, str(Path(__file__).parent))
from security_tables import requirements_table, roles_table

PARTS: Mapping[str, Callable[[], str]] = {
    "settings": settings_tables,
    "roles": roles_table,
    "requirements": requirements_table,
}
PART = re.compile(r"(?P<begin><!-- begin (?P<name>[a-z-]+) -->\n)(.*?)(?P<end><!-- end (?P=name) -->)", re.DOTALL)


def rewritten(page: str) -> str:
    """Give a page's text with every generated part made anew.

    Raises:
        KeyError: A part has a name that nothing generates.
    """
    return PART.sub(lambda found: f"{found['begin']}\n{PARTS[found['name']]()}\n\n{found['end']}", page)


def main(arguments: list[str]) -> int:
    """Rewrite or check all pages; 1 when a page is stale and only checked."""
    check = arguments == ["--check"]
    if arguments and not check:
        print("usage: python docs/generate.py [--check]", file=sys.stderr)
        return 2
    stale = []
    for path in sorted(Path(__file__).parent.rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = rewritten(before)
        if after != before:
            stale.append(path.name)
            if not check:
                path.write_text(after, encoding="utf-8")
    print(f"{'stale' if check else 'rewritten'}: {', '.join(stale) or 'none'}")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

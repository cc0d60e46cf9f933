"""Further patterns of secrets, by setting: anchored, and refused at the start where one could hold the process up."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from functools import lru_cache

from lmcache_admin.interpreter import interpreter
from lmcache_admin.settings import PREFIX, SettingsError

#: Most that a pattern may take on `LETTERS` letters, seconds of the processor.
LIMIT = 0.05
LETTERS = 100_000
#: Run by another process: a match cannot be ended from outside, and holds the interpreter's lock. There the system ends
#: it, by the signal of a timer that counts the processor's seconds and that nobody handles.
_PROGRAM = """
import json, re, signal, sys, time
asked = json.load(sys.stdin)
letters, limit = asked["letters"], asked["limit"]
for number, pattern in enumerate(asked["patterns"]):
    found, signs = re.compile(pattern), asked["signs"][number]
    for text in [*[*dict.fromkeys("a0 " + signs)][:40], signs]:
        long = (text * (letters // len(text) + 1))[: letters - 1]
        for tail in (long[-1], chr(0)):
            print(json.dumps([number, text + tail]), flush=True)
            signal.setitimer(signal.ITIMER_PROF, 1.0)
            for attempt in range(3):
                begin = time.process_time()
                found.sub("", long + tail)
                if time.process_time() - begin <= limit:
                    break
            else:
                sys.exit("slow")
"""
#: Seconds after which the check itself is given up.
_PATIENCE = 60.0
_FLAGS = re.compile(r"\(\?([aimsux]+)\)")


def anchored(pattern: str) -> str:
    """Return the expression for a pattern: it is not begun in the middle of a word, and takes its last word whole."""
    flags = _FLAGS.match(pattern)
    begin = f"(?{flags[1]}:" if flags else "(?:"
    end = "\n)" if flags and "x" in flags[1] else ")"  # a comment at its end must not take the bracket in
    return rf"(?:(?<!\w)|(?!\w)){begin}{pattern[flags.end() if flags else 0 :]}{end}\w*"


@lru_cache(maxsize=16)
def check_patterns(patterns: tuple[str, ...]) -> None:
    """Refuse patterns that take too long on a long text of `a`, or of the signs of which they consist.

    Raises:
        SettingsError: It names the pattern.
    """
    if not patterns:
        return
    asked = {
        "patterns": [anchored(pattern) for pattern in patterns],
        "signs": ["".join(re.findall(r"[^\\^$.|?*+(){}\[\]]", pattern)) or "a" for pattern in patterns],
        "letters": LETTERS,
        "limit": LIMIT,
    }
    reason, number = _measured(json.dumps(asked).encode())
    if reason:
        allowed = f"patterns that take at most {LIMIT * 1000:g} ms on {LETTERS} letters"
        raise SettingsError(f"{PREFIX}redact_patterns[{number}]", patterns[number], allowed, reason=reason)


def _measured(asked: bytes) -> tuple[str, int]:
    """Measure in another process; return what is wrong, empty for nothing, and with which pattern."""
    try:
        command = [interpreter(), "-I", "-S", "-c", _PROGRAM]
        ended = subprocess.run(command, input=asked, capture_output=True, timeout=_PATIENCE)  # noqa: S603 - ours
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it cannot be checked: {error}", 0
    if ended.returncode == 0:
        return "", 0
    number, text = json.loads(ended.stdout.splitlines()[-1]) if ended.stdout else (0, "")
    said = ended.stderr.decode(errors="replace").strip()
    if ended.returncode == -signal.SIGPROF or said == "slow":
        return f"it takes longer on a text of {text!r}", number
    return f"it cannot be checked: {said[-200:]}", number

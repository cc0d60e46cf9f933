"""A few hundred requests to two fresh LMCache engines of equal configuration: ours and LMCache's own server agree.

The requests, and what differs on purpose, are data: replay.yaml.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.lmcache

DATA: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("replay.yaml").read_text())
OWN = ("-m", "lmcache.v1.standalone")
OURS = ("-m", "lmcache_admin", "run", *OWN)


@dataclass(frozen=True)
class Seen:
    """What a server answered, with its folder written {DATA}."""

    status: int
    type: str | None
    location: str | None
    text: str


class Replayed:
    """Both engines, and what they answered: everything is sent once, in order, for each request leaves a state."""

    def __init__(self, start: Callable[..., Any]) -> None:
        self.engines = [start(command, **configuration()) for command in (OURS, OWN)]
        for engine in self.engines:
            engine.wait_until_it_answers()
            prepare(engine.folder)
        self.answers: dict[str, list[tuple[Any, Seen, Seen]]] = {}
        for part, requests in DATA["requests"].items():
            self.answers[part] = [(request, *self.send(request)) for request in requests]

    def send(self, request: Any) -> tuple[Seen, Seen]:
        """Send one request to both."""
        fields = {"send": request} if isinstance(request, str) else request
        method, _, target = fields["send"].partition(" ")
        text = body_of(fields)
        kind = fields.get("type", "application/json" if "json" in fields else None)
        ours, theirs = (self.ask(engine, method, target, text, kind) for engine in self.engines)
        return ours, theirs

    @staticmethod
    def ask(engine: Any, method: str, target: str, text: str | None, kind: str | None) -> Seen:
        folder = str(engine.folder)
        body = None if text is None else text.replace("{DATA}", folder).encode()
        answer = engine.request(method, target, body, {"Content-Type": kind} if kind else {})
        location = answer.location and "/" + answer.location.split("//", 1)[-1].split("/", 1)[-1]
        return Seen(answer.status, answer.type, location, answer.body.decode().replace(folder, "{DATA}"))


def configuration() -> dict[str, Any]:
    """Chunks of LMCache's own size, in memory and on disk."""
    return {"chunk_size": 256, "lmcache_instance_id": "replay", "max_local_cpu_size": 0.2, "max_local_disk_size": 0.2}


def prepare(folder: Path) -> None:
    """The files that load-fs-chunks is given: two stores, one without an address, and one that is no YAML."""
    for name in ("fs", "fsbad"):
        (folder / name).mkdir()
        url = f"fs://localhost:0{folder}/{name}"
        (folder / f"{name}.yaml").write_text(f'chunk_size: 256\nremote_serde: naive\nremote_url: "{url}"\n')
    (folder / "fsbad" / "garbage.data").write_bytes(b"not a chunk")
    (folder / "nourl.yaml").write_text("chunk_size: 256\n")
    (folder / "broken.yaml").write_text("chunk_size: [\n")


@pytest.fixture(scope="module")
def replayed(start_standalone: Callable[..., Any]) -> Replayed:
    """The two engines after all requests."""
    return Replayed(start_standalone)


@pytest.mark.parametrize("part", DATA["requests"])
def test_both_servers_answer_alike(replayed: Replayed, part: str) -> None:
    found = [line for answer in replayed.answers[part] for line in compare(*answer)]
    assert not found, "\n".join(found)


def test_every_difference_is_met(replayed: Replayed) -> None:
    answers = [answer for part in replayed.answers.values() for answer in part]
    apart = [(request, theirs) for request, ours, theirs in answers if different(ours, theirs)]
    met = {rule["because"] for request, theirs in apart for rule in rules(request, theirs)}
    assert [rule["because"] for rule in DATA["differences"] if rule["because"] not in met] == []


def compare(request: Any, ours: Seen, theirs: Seen) -> Iterator[str]:
    """What tells the answers apart that no difference excuses, in words."""
    excused = rules(request, theirs)
    expected, *_ = next((rule["ours"] for rule in excused if "ours" in rule), [theirs.status])
    send = request if isinstance(request, str) else request["send"]
    kind = "application/json" if is_error(excused) else theirs.type if expected == theirs.status else ours.type
    for what, mine, other in (
        ("status", ours.status, expected),
        ("content type", ours.type, kind),
        ("location", ours.location, theirs.location),
    ):
        if mine != other:
            yield f"{send}: {what} {mine!r}, expected {other!r}: {ours.text[:200]!r}, LMCache's {theirs.text[:200]!r}"
    yield from (f"{send}: {line}" for line in _compare_bodies(request, ours, theirs, excused))


def _compare_bodies(request: Any, ours: Seen, theirs: Seen, excused: list[Any]) -> Iterator[str]:
    mine, other = parsed(ours.text), parsed(theirs.text)
    if is_error(excused):
        if not (isinstance(mine, dict) and isinstance(mine.get("error"), str) and isinstance(mine["message"], str)):
            yield f"no error and message: {ours.text[:200]!r}"
        return
    for rule in excused:
        if "ours" in rule:
            other = rule["ours"][1]
        if rule.get("body") == "same members":
            mine, other = sorted(json.dumps(mine)), sorted(json.dumps(other))
    volatile = [] if isinstance(request, str) else request.get("volatile", [])
    ignored = [*volatile, *(key for rule in excused for key in rule.get("adds", []))]
    if isinstance(mine, dict) and isinstance(other, dict):
        mine, other = ({k: v for k, v in value.items() if k not in ignored} for value in (mine, other))
    if json.dumps(mine) != json.dumps(other):  # 1 and true are equal, their texts are not
        yield f"{ours.text[:300]!r}, LMCache's {theirs.text[:300]!r}"


def is_error(excused: list[Any]) -> bool:
    """Whether ours is an error in our own form."""
    told = any(len(rule.get("ours", ())) > 1 for rule in excused)
    return not told and any(rule.get("body") == "error" for rule in excused)


def rules(request: Any, theirs: Seen) -> list[Any]:
    """The differences that hold for what LMCache answered."""
    sent = f"{request} " if isinstance(request, str) else f"{request['send']} {body_of(request) or ''}"
    return [
        rule
        for rule in DATA["differences"]
        if theirs.status in rule.get("status", [theirs.status])
        and re.search(rule.get("send", ""), sent)
        and re.search(rule.get("lmcache", ""), theirs.text)
    ]


def body_of(fields: Mapping[str, Any]) -> str | None:
    """The body of a request."""
    text: str | None = json.dumps(fields["json"]) if "json" in fields else fields.get("text")
    return text


def different(ours: Seen, theirs: Seen) -> bool:
    """Whether the answers are not the same, white space aside."""
    return (ours.status, json.dumps(parsed(ours.text))) != (theirs.status, json.dumps(parsed(theirs.text)))


def parsed(text: str) -> Any:
    """The value of JSON, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text

"""What reads texts of clients: any text is read rightly or refused in one sentence, whatever stands in it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from fuzzed import fuzzed, tried
from hypothesis import given
from hypothesis import strategies as st

from lmcache_admin.errors import Invalid
from lmcache_admin.fields import LARGEST_TOKEN, MAX_TOKENS, token_range
from lmcache_admin.security.origins import host_is_ours, refusal_of_page
from lmcache_admin.slot_lists import MAX_SLOTS, SlotList
from lmcache_admin.strict_json import strict_json

SLOT = st.integers(0, 5000)
RUN = st.tuples(SLOT, st.integers(0, 40)).map(lambda run: (run[0], run[0] + run[1]))
NEARLY = st.text(alphabet="0123456789,[]- +_.", max_size=40)
HUGE = st.integers(0, 5000).map(lambda digits: "9" * digits)


@st.composite
def slot_texts(draw):
    """A slot list, blanks in it, and the slots that it means."""
    parts, slots = [], []
    for first, last in draw(st.lists(RUN, min_size=1, max_size=12)):
        single = first == last and draw(st.booleans())
        parts.append(str(first) if single else f"[{first},{last}]")
        slots += range(first, last + 1)
    blank = draw(st.sampled_from(["", " ", "\t"]))
    return (blank + "," + blank).join(parts), slots


@fuzzed
@given(slot_texts())
def test_s48_slots_are_those_that_the_list_names_in_its_order(drawn):
    text, slots = drawn
    read = SlotList.parse(text)
    assert list(read) == slots
    assert len(read) == len(slots)
    assert np.array_equal(read.numbers(), np.array(slots, np.int64))
    shown = [[part] if isinstance(part, int) else range(part[0], part[1] + 1) for part in read.ranges()]
    assert [slot for part in shown for slot in part] == slots
    limit = max(slots) // 2
    assert read.outside(limit) == [slot for slot in slots if slot >= limit]


@fuzzed
@given(NEARLY | st.text() | HUGE | HUGE.map(lambda text: f"[0,{text}]"))
def test_s48_any_slot_list_is_read_within_the_limit_or_refused(text):
    read, refusal = tried(lambda: SlotList.parse(text), Invalid)
    if refusal:
        assert refusal.status == 400
        return
    assert len(read) <= MAX_SLOTS
    if all(first >= 0 for first, _ in read.runs):  # a range takes no sign
        assert SlotList.parse(json.dumps(read.ranges())[1:-1] or ",") == read


@fuzzed
@given(st.integers(-LARGEST_TOKEN, LARGEST_TOKEN - MAX_TOKENS), st.integers(1, MAX_TOKENS))
def test_s48_a_token_range_is_the_one_that_is_named(start, count):
    assert token_range(f"{start},{start + count}") == range(start, start + count)
    with pytest.raises(Invalid):
        token_range(f"{start},{start + MAX_TOKENS + count}")
    with pytest.raises(Invalid):
        token_range(f"{start},{start - count + 1}")


@fuzzed
@given(NEARLY | st.text() | HUGE.map(lambda text: f"0,{text}") | HUGE.map(lambda text: f"-{text},{text}"))
def test_s48_any_token_range_is_read_within_the_limit_or_refused(text):
    read, refusal = tried(lambda: token_range(text), Invalid)
    assert refusal.status == 400 if refusal else 0 < read.stop - read.start <= MAX_TOKENS


KEYS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
VALUES = st.recursive(
    PLAIN | TEXTS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4)
)


@fuzzed
@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_s43_what_json_says_is_read_as_it_is(value, ascii_only, indent):
    assert strict_json(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()) == value


@fuzzed
@given(st.binary() | st.text(alphabet='{}[]",:0123456789.eE+-\\uaN \n', max_size=30).map(str.encode))
def test_s43_any_bytes_are_a_document_or_a_value_error(data):
    value, refusal = tried(lambda: strict_json(data), ValueError)
    if refusal:
        assert str(refusal)
    else:
        assert json.loads(data) == value
        json.dumps(value, allow_nan=False)


@fuzzed
@given(VALUES, st.sampled_from([math.nan, math.inf, 2**64, "\ud800", {"a\0": 1}]))
def test_s43_what_readers_disagree_about_is_refused_at_any_depth(value, odd):
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own sentence
        strict_json(json.dumps([value, {"x": [odd]}]).encode())


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
FOREIGN = st.lists(LABEL, min_size=2, max_size=4).map(".".join).filter(lambda name: not name.replace(".", "").isdigit())


@fuzzed
@given(st.text() | FOREIGN | FOREIGN.map(lambda name: f"{name}:80") | FOREIGN.map(lambda name: f"127.0.0.1.{name}"))
def test_s17_no_foreign_name_is_ours(host):
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    known = name.lower() in ("localhost", "[::1]") or name.startswith("127.")
    if not known or name.rpartition(".")[2].isalpha():
        assert not host_is_ours(host, frozenset(), loopback_only=True) or name.lower() == "localhost"


@fuzzed
@given(
    origin=st.text() | FOREIGN.map("http://{}".format) | st.sampled_from(["null", "http://localhost:1.evil", "file://"])
)
def test_s18_no_foreign_page_may_change_or_read_anything(origin):
    environ = {"HTTP_ORIGIN": origin, "HTTP_HOST": "localhost:7000", "wsgi.url_scheme": "http"}
    for changes in (True, False):
        assert refusal_of_page(environ, changes, (), csrf_fits=True)


HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_categories=["Cc"]), max_size=80)
PREFERENCES = st.lists(
    st.sampled_from(
        ["respond-async", "RESPOND-ASYNC; wait=1", "wait=1", 'x="respond-async"', "", ";", "xrespond-async"]
    ),
    max_size=4,
).map(", ".join)


@fuzzed
@given(prefer=HEADER_TEXT | PREFERENCES)
def test_any_prefer_is_honoured_or_passed_over(service, prefer):
    answer = service.request("DELETE", "/cache/clear?locations=none", headers={"Prefer": prefer.strip() or "-"})
    asked = any(part.partition(";")[0].strip().lower() == "respond-async" for part in prefer.split(","))
    assert answer.status == (202 if asked else 200)
    assert (answer.headers["Preference-Applied"] is not None) == asked


@fuzzed
@given(
    name=st.sampled_from(["Host", "Origin", "Cookie", "Authorization", "X-CSRF-Token", "Sec-Fetch-Site", "Forwarded"]),
    value=HEADER_TEXT,
)
def test_any_value_of_a_header_of_the_gate_gets_an_answer_that_says_why(service, name, value):
    answer = service.request("GET", "/freeze/status", headers={name: value.strip()})
    assert answer.status in (200, 400, 401, 403), (name, value)
    if answer.status != 200:
        assert set(answer.json()) >= {"error", "message"}

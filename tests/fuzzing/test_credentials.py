"""Files of tokens and users, and cookies of sessions: anything at all is read or refused, and what is read is good."""

from __future__ import annotations

import re
from datetime import datetime, timezone

import pytest
from fuzzed import fuzzed, tried
from hypothesis import given, settings
from hypothesis import strategies as st

from lmcache_admin.declaration import ROLES
from lmcache_admin.security.sessions import Sessions
from lmcache_admin.security.tokens import find_token, new_token, parse_tokens
from lmcache_admin.security.users import check_password, new_user, parse_users

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,20}", fullmatch=True)
SECRET = "scrypt$2$8$1$MDEyMzQ1Njc4OTAxMjM0NQ==$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
#: Files that are nearly good: lines of cells, each a good one or none.
CELLS = st.one_of(
    st.sampled_from(["", "-", "1", "viewer", "admin", "bob", "sha256$" + "0" * 64, SECRET, "2027-01-31T120000Z"]),
    st.text(max_size=20),
)
FILES = st.lists(st.lists(CELLS, max_size=5).map(":".join), max_size=4).map("\n".join)
TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)).map(
    lambda time: time.replace(microsecond=0, tzinfo=timezone.utc)
)


@fuzzed
@given(FILES | st.text())
def test_s2_any_token_file_is_read_or_its_line_named_and_nothing_of_it(text):
    tokens, refusal = tried(lambda: parse_tokens(text), ValueError)
    if refusal:
        assert re.match(r"line \d+: ", str(refusal))
        assert str(refusal).isprintable()
    else:
        assert parse_tokens("".join(f"{token.line}\n" for token in tokens)) == tokens


@fuzzed
@given(name=NAMES, role=st.sampled_from(ROLES), expires=st.none() | TIMES, other=st.text(max_size=300))
def test_s2_a_token_is_found_by_its_secret_and_by_no_other(name, role, expires, other):
    secret, token = new_token(name, role, expires)
    assert parse_tokens(token.line) == (token,)
    assert (token.name, token.role, token.expires) == (name, role, expires)
    over = expires is not None and expires <= datetime.now(timezone.utc)
    assert find_token((token,), secret) == (None if over else token)
    assert find_token((token,), other) is None
    assert secret not in token.line


@fuzzed
@given(FILES | st.text())
def test_s7_any_user_file_is_read_or_its_line_named_and_nothing_of_it(text):
    users, refusal = tried(lambda: parse_users(text), ValueError)
    if refusal:
        assert re.match(r"line \d+: ", str(refusal))
        assert str(refusal).isprintable()
    else:
        assert parse_users("".join(f"{user.line}\n" for user in users)) == users


NUMBERS = st.sampled_from([str(2**power) for power in range(22)]) | st.integers(-2, 3000).map(str) | st.text(max_size=6)


@fuzzed
@given(n=NUMBERS, r=NUMBERS, p=NUMBERS)
def test_s7_with_any_cost_that_a_user_file_may_name_a_password_is_looked_at(n, r, p):
    line = ":".join(["bob", "viewer", SECRET.replace("$2$8$1$", f"${n}${r}${p}$"), "1"])
    try:
        users = parse_users(line)
    except ValueError:
        return
    assert check_password(users, "bob", "hunter22") is None


@pytest.fixture(scope="module")
def bob():
    return new_user("bob", "viewer", "correct horse")


@settings(fuzzed, max_examples=fuzzed.max_examples // 10)  # each costs a hash
@given(st.text(max_size=1100, alphabet=st.characters()))
def test_s6_any_other_password_is_wrong(bob, password):
    assert check_password((bob,), "bob", password) is None


SESSIONS = Sessions(["a" * 32, "b" * 32])


@pytest.fixture(scope="module")
def cookie():
    return SESSIONS.write(SESSIONS.begin("bob", 3))


@fuzzed
@given(data=st.data())
def test_s10_a_cookie_that_was_changed_anywhere_is_none_or_says_the_same(cookie, data):
    begin = data.draw(st.integers(0, len(cookie)))
    end = data.draw(st.integers(begin, len(cookie)))
    changed = cookie[:begin] + data.draw(st.text(max_size=5)) + cookie[end:]
    session = SESSIONS.read(cookie)
    assert session is not None
    assert (session.user, session.generation) == ("bob", 3)
    assert SESSIONS.read(changed) in (None, session)  # base64 has several texts for the same bytes


@fuzzed
@given(st.text() | st.text(alphabet="abcABC019._-=.", max_size=200))
def test_s10_any_text_is_no_cookie(text):
    assert SESSIONS.read(text) is None
    assert SESSIONS.csrf_fits(SESSIONS.begin(), text) is False

"""Further patterns by setting: what they mask, and that one that would hold the process up is refused (S25)."""

import time

import pytest

from lmcache_admin.app import create_app
from lmcache_admin.security.extra_patterns import check_patterns
from lmcache_admin.security.redaction import Redactor
from lmcache_admin.settings import Settings, SettingsError

KEY = "internal_api_server_redact_patterns"


def settings(*patterns):
    return Settings.from_mapping({"extra_config": {KEY: list(patterns)}}, {})


def test_s25_what_a_pattern_matches_leaves_no_route(serve, monkeypatch):
    monkeypatch.setenv("BADGE", "issued to EMP-004711, valid")
    running = serve(extra={"redact_patterns": ["EMP-[0-9]{6}", r"(?i)acme_[a-z]+"]}, remote_url="file:///acme_data")
    assert running.get("/env").json()["BADGE"] == "issued to ******, valid"
    assert running.get("/conf?names=remote_url").json()["remote_url"] == "file:///******"
    assert "EMP-004711" not in running.get("/periodic-threads/EMP-004711").text


@pytest.mark.parametrize(
    ("pattern", "text", "shown"),
    [
        ("EMP-[0-9]{6}", "EMP-123456", "******"),
        ("EMP-[0-9]{6}", "EMP-1234567", "******"),  # what begins like one is masked to the word's end
        ("EMP-[0-9]{6}", "XEMP-123456", "XEMP-123456"),  # a word is not begun in its middle
        ("emp|acme", "an emp and an acme", "an ****** and an ******"),
        ("(?i)acme", "ACME", "******"),
        ("(?x) acme  # the name", "acme corp", "****** corp"),
        ("://[a-z]+", "to http://cache now", "to http****** now"),
        (r"\d{16}", "card 4111111111111111.", "card ******."),
    ],
)
def test_s25_patterns_are_anchored_at_words(pattern, text, shown):
    check_patterns((pattern,))
    assert Redactor([pattern]).mask(text) == shown


def test_s25_numbers_are_texts_for_a_pattern():
    assert Redactor([r"\d{16}"]).mask({"card": 4111111111111111, "n": 5}) == {"card": "******", "n": 5}


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|aa)+$", "(b+)+$", "(xy|xy)+$", ".*secret", "(?:(?:(?:a?){1000}){1000}){1000}z", "a+a*a*x"]
)
def test_s25_pattern_that_takes_long_is_refused_and_does_not_hold_the_start_up(pattern):
    began = time.monotonic()
    with pytest.raises(SettingsError) as refused:
        create_app(None, settings("EMP-[0-9]{6}", pattern))
    assert time.monotonic() - began < 60  # left alone, most of them would go on for years
    assert str(refused.value).startswith(f"{KEY}[1]: {pattern!r} is not allowed (it takes longer")
    assert "at most 50 ms" in str(refused.value)


@pytest.mark.parametrize("pattern", ["(", "a*", "", "x|", "(?P<a>x)(?P<a>y)", 5, None])
def test_s25_what_is_no_pattern_or_matches_everywhere_is_refused(pattern):
    with pytest.raises(SettingsError, match=KEY):
        settings(pattern)


def test_s25_a_server_with_a_slow_pattern_is_off_with_one_line_and_the_engine_runs(serve, service, caplog):
    manager = service.manager
    manager.config.extra_config[KEY] = ["(a+)+$"]
    with pytest.raises(AssertionError, match="is not allowed"):
        serve(manager)
    assert [record.getMessage().count(KEY) for record in caplog.records] == [1]
    assert service.get("/version").status == 200


def test_s25_a_single_text_is_one_pattern_with_its_commas():
    variable = f"LMCACHE_{KEY.upper()}"
    for text, read in (("x{2,3}", ("x{2,3}",)), ('["x{2,3}", "y"]', ("x{2,3}", "y")), ("[xy]z", ("[xy]z",))):
        assert Settings.from_mapping({}, {variable: text}).redact_patterns == read
    assert settings("x{2,3}").redact_patterns == ("x{2,3}",)

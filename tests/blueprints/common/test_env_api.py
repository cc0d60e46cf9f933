"""GET /env: the environment as text, with secrets masked."""

import json
import os

import pytest


def test_variables_are_pretty_json_sent_as_text_sorted_by_name(service, monkeypatch):
    monkeypatch.setenv("ZZ_LAST", "2")
    monkeypatch.setenv("AA_FIRST", "1")
    answer = service.get("/env")
    assert (answer.status, answer.type) == (200, "text/plain; charset=utf-8")
    names = list(answer.json())
    assert names == sorted(names)
    assert '\n  "AA_FIRST": "1",\n' in answer.text
    assert answer.json()["ZZ_LAST"] == "2"
    assert not answer.text.endswith("\n")


def test_text_beyond_ascii_is_escaped(service, monkeypatch):
    monkeypatch.setenv("CITY", "Z\u00fcrich")
    assert '"CITY": "Z\\u00fcrich"' in service.get("/env").text


@pytest.mark.parametrize("name", ["DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "OPENAI_API_KEY"])
def test_secret_keeps_its_name_and_loses_its_value(service, monkeypatch, name):
    monkeypatch.setenv(name, "hunter2-value")
    answer = service.get("/env")
    assert answer.json()[name] == "******"
    assert "hunter2" not in answer.text


def test_password_in_a_url_is_masked_and_the_rest_stays(service, monkeypatch):
    monkeypatch.setenv("LMCACHE_REMOTE_URL", "redis://user:hunter2@cache.local:6379/0")
    assert service.get("/env").json()["LMCACHE_REMOTE_URL"] == "redis://user:******@cache.local:6379/0"


def test_s72_name_and_value_that_are_not_utf_8_are_shown_escaped(service, monkeypatch):
    monkeypatch.setitem(os.environ, "ODD_\udcff", "v\udcfe")
    answer = service.get("/env")
    assert answer.status == 200
    assert '"ODD_\\udcff": "v\\udcfe"' in answer.text


def test_parameters_and_a_body_are_ignored(service):
    answer = service.request("GET", "/env?x=1&x=2", b"{broken", {"Content-Type": "application/json"})
    assert answer.status == 200
    assert json.loads(answer.body)["PATH"] == os.environ["PATH"]

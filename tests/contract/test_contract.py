"""The contract's cases as data, run over HTTP against the embedded engine."""

from pathlib import Path

import pytest
import yaml

CASES = yaml.safe_load((Path(__file__).parent / "cases.yaml").read_text())


def name(case):
    return f"{case['host']}: {case['request']} -> {case['status']}"


@pytest.mark.parametrize("case", CASES, ids=name)
def test_request_is_answered_as_the_contract_says(serve, case):
    running = serve(role=case["host"])
    for earlier in case.get("before", ()):
        assert running.request(*earlier.split(" ", 1)).status == 200
    headers = {"Content-Type": case["type"]} if "type" in case else {}
    answer = running.request(*case["request"].split(" ", 1), case.get("body"), headers)
    assert answer.status == case["status"]
    assert answer.headers["Location"] == case.get("location")
    if "json" in case:
        assert answer.json() == case["json"]
    if "text" in case:
        assert answer.text == case["text"]
    for part in case.get("has", ()):
        assert part in answer.text


def test_no_case_stands_there_twice():
    seen = [(case["host"], tuple(case.get("before", ())), case["request"], case.get("body")) for case in CASES]
    assert len(seen) == len(set(seen))

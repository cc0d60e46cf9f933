"""Labels of a metrics exposition: secrets in them are masked, all else stays to the byte (S21, S22)."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from lmcache_admin.exposition import LabelMask
from lmcache_admin.security import Redactor

ODD = 'a "quoted" \\ back\\slash, {brace} = "} 1.0\nnext line'


def exposition(**labels: str) -> bytes:
    registry = CollectorRegistry()
    gauge = Gauge("tests_gauge", 'With {braces="in"} its help.', [*labels], registry=registry)
    gauge.labels(**labels).set(1.5)
    return generate_latest(registry)


def labels_of(payload: bytes) -> dict[str, str]:
    family = next(iter(text_string_to_metric_families(payload.decode())))
    return dict(family.samples[0].labels)


def test_s22_an_exposition_without_secrets_stays_to_the_byte() -> None:
    payload = exposition(model="meta-llama/Llama-3", odd=ODD, le="+Inf", empty="", umlaut="Zürich")
    for _ in range(2):
        assert LabelMask(Redactor().mask).apply(payload) == payload


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("url", "redis://bob:hunter2@cache", "redis://bob:******@cache"),
        ("password", "hunter2", "******"),
        ("note", 'with password="hunter2" and more', 'with password="******" and more'),
        ("note", ODD + " token=hunter2", ODD + " token=******"),
    ],
)
def test_s21_a_secret_in_a_label_is_masked_alone(name: str, value: str, shown: str) -> None:
    payload = exposition(before="kept", **{name: value}, zone="eu")
    masked = LabelMask(Redactor().mask).apply(payload)
    assert labels_of(masked) == {"before": "kept", name: shown, "zone": "eu"}
    assert b"hunter2" not in masked
    assert masked.endswith(b"} 1.5\n")


def test_s23_labels_of_an_unknown_form_are_not_shown() -> None:
    assert LabelMask(Redactor().mask).apply(b"odd{'password': hunter2} 1.0\n") == b"odd{} 1.0\n"


def test_a_set_of_labels_is_looked_at_once_and_forgotten_when_it_is_gone() -> None:
    looked: list[str] = []

    def mask(value: str, key: str) -> str:
        looked.append(value)
        return value

    labels = LabelMask(mask)
    for payload in (exposition(a="1"), exposition(a="1"), exposition(a="2"), exposition(a="1")):
        labels.apply(payload)
    assert looked == ["1", "2", "1"]

"""Requests that two servers could read in two ways are refused with 400, and the connection ends."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ambiguous_requests import AMBIGUOUS, BODY, NEXT


def echo(environ: Any) -> bytes:
    return environ["PATH_INFO"].encode()


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_s50_ambiguous_request_is_refused_and_nothing_after_it_is_served(serve, page, name):
    site = serve({"/first": page(echo, quick=True), "/second": page(echo, quick=True)})
    received = site.raw(AMBIGUOUS[name] + NEXT)
    assert received.split()[1] == b"400"
    assert len(re.findall(rb"HTTP/1\.\d \d\d\d ", received)) == 1
    assert b"/second" not in received


@pytest.mark.parametrize("coding", [b"xchunked", b"identity", b"chunked, gzip", b"\x0bchunked", b"chunked\xa0"])
def test_s50_other_transfer_encoding_is_refused(serve, page, coding):
    site = serve({"/second": page(echo)})
    received = site.raw(BODY + b"Transfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n" + NEXT)
    assert received.split()[1] in (b"400", b"501")
    assert b"/second" not in received


def test_absolute_form_of_the_same_host_is_served(serve, page):
    site = serve({"/first": page(echo)})
    received = site.raw(b"GET http://X:1/first HTTP/1.1\r\nHost: x:1\r\nConnection: close\r\n\r\n")
    assert received.endswith(b"/first")


@pytest.mark.parametrize("host", [b"127.0.0.1:80", b"[::1]:80", b"node-1.example", b"localhost"])
def test_ordinary_host_is_served(serve, page, host):
    site = serve({"/first": page(echo)})
    received = site.raw(b"GET /first HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
    assert received.endswith(b"/first")

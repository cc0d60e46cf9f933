"""Requests that two servers could read in two ways are refused with 400, and the connection ends."""

from __future__ import annotations

import re
from typing import Any

import pytest

NEXT = b"GET /second HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
BODY = b"POST /first HTTP/1.1\r\nHost: x\r\n"

AMBIGUOUS = {
    "length and chunked": BODY + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": BODY + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "folded line": BODY + b"X: a\r\n b\r\n\r\n",
    "folded with tab": BODY + b"X: a\r\n\tb\r\n\r\n",
    "folded coding": BODY + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "first line folded": BODY.replace(b"Host", b" Host") + b"\r\n",
    "two hosts": b"GET /first HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "the same host twice": b"GET /first HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    "no host": b"GET /first HTTP/1.1\r\n\r\n",
    "empty host": b"GET /first HTTP/1.1\r\nHost:\r\n\r\n",
    "host with blank": b"GET /first HTTP/1.1\r\nHost: x y\r\n\r\n",
    "host with path": b"GET /first HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "host with user": b"GET /first HTTP/1.1\r\nHost: a@x\r\n\r\n",
    "chunked in 1.0": b"POST /first HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "absolute form, other host": b"GET http://y/first HTTP/1.1\r\nHost: x\r\n\r\n",
    "two lengths": BODY + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    "list of lengths": BODY + b"Content-Length: 5, 5\r\n\r\nabcde",
    "length with plus": BODY + b"Content-Length: +5\r\n\r\nabcde",
    "negative length": BODY + b"Content-Length: -5\r\n\r\n",
    "hexadecimal length": BODY + b"Content-Length: 0x5\r\n\r\nabcde",
    "length with underscore": BODY + b"Content-Length: 1_0\r\n\r\nabcdefghij",
    "length in other digits": BODY + b"Content-Length: \xd9\xa5\r\n\r\nabcde",
    "blank before colon": BODY + b"Content-Length : 5\r\n\r\nabcde",
    "chunked twice": BODY + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked in two lines": BODY + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare line feed": b"GET /first HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    "bare carriage return": b"GET /first HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
    "null byte": b"GET /first HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "bad name": b"GET /first HTTP/1.1\r\nHost: x\r\nX y: 1\r\n\r\n",
    "bad chunk size": BODY + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "chunk without end": BODY + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
    "chunk size with plus": BODY + b"Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
    "no version": b"GET /first\r\nHost: x\r\n\r\n",
    "other version": b"GET /first HTTP/2.0\r\nHost: x\r\n\r\n",
    "lower case method": b"get /first HTTP/1.1\r\nHost: x\r\n\r\n",
}


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

"""Signals reach whoever waits for them, whenever they come."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from lmcache_admin.cli.signals import taken


def test_a_signal_that_comes_before_the_wait_ends_the_wait() -> None:
    with taken() as signals:
        signals.hold()
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.next() == signal.SIGTERM


def test_a_signal_that_comes_while_waiting_ends_the_wait() -> None:
    with taken() as signals:
        signals.hold()
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        assert signals.next() == signal.SIGINT
        timer.join()


def test_signals_are_taken_one_by_one_in_their_order() -> None:
    with taken() as signals:
        signals.hold()
        for number in (signal.SIGHUP, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert [signals.next(), signals.next()] == [signal.SIGHUP, signal.SIGTERM]


def test_a_signal_before_anything_is_started_ends_the_process() -> None:
    with taken(), pytest.raises(SystemExit) as ended:
        os.kill(os.getpid(), signal.SIGINT)
    assert ended.value.code == 0


def test_handlers_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with taken():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before

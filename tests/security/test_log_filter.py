"""Our own log lines, tracebacks too, hold no secret; the exception itself stays with the record (S21, S24)."""

import io
import logging

import pytest

from lmcache_admin.security import Redactor, SecretsFilter, guard_own_loggers


@pytest.fixture
def lines():
    """A logger as those of this package, and what it has written."""
    logger, written = logging.getLogger("lmcache_admin.tests_log_filter"), io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    guard_own_loggers(Redactor())
    yield logger, written
    del logging.root.manager.loggerDict[logger.name]


def test_s24_a_traceback_in_the_log_holds_no_secret(service, caplog):
    def is_frozen():
        raise RuntimeError("cannot reach redis://bob:hunter2@cache, password='hunter2'")

    service.manager.lmcache_engine.is_frozen = is_frozen
    with caplog.at_level(logging.ERROR, "lmcache_admin"):
        assert service.get("/freeze/status").status == 500
    record = next(record for record in caplog.records if "/freeze/status" in record.getMessage())
    line = caplog.handler.format(record)
    assert "redis://bob:******@cache, password='******'" in line
    assert "Traceback" in line
    assert "hunter2" not in line
    assert record.exc_info[0] is RuntimeError


def test_s21_a_message_is_masked_with_its_arguments(lines):
    logger, written = lines
    logger.warning("cannot reach %s with %s=%r", "redis://bob:hunter2@cache", "password", "hunter2")
    logger.warning("harmless %d of %s", 3, "chunks")
    assert written.getvalue() == (
        "WARNING cannot reach redis://bob:******@cache with password='******'\nWARNING harmless 3 of chunks\n"
    )


def test_s24_a_stack_in_the_log_holds_no_secret(lines):
    logger, written = lines
    logger.warning("here", stack_info=True) if (password := "hunter2") else None
    assert "Stack (most recent call last)" in written.getvalue()
    assert password not in written.getvalue()


def test_a_record_whose_arguments_do_not_fit_is_left_to_logging():
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "%d", ("hunter2",), None)
    assert SecretsFilter(Redactor()).filter(record) is True
    assert record.args == ("hunter2",)


def test_a_logger_gets_one_filter_for_each_set_of_patterns(lines):
    logger, _ = lines
    for patterns in ((), ("acme",), ()):
        guard_own_loggers(Redactor(patterns))
    assert [kept.redactor.patterns for kept in logger.filters] == [(), ("acme",)]
    logger.filters.pop()
    assert not [f for f in logging.getLogger("elsewhere").filters if isinstance(f, SecretsFilter)]

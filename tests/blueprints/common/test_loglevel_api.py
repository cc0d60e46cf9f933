"""GET and POST /loglevel: list, read and set the levels of loggers."""

import logging

import pytest

TEXT = "text/plain; charset=utf-8"


@pytest.fixture
def name(request):
    """A logger's name that no other test uses."""
    return f"tests.loglevel.{request.node.name}"


def test_list_has_each_real_logger_with_its_own_level(service, name):
    logging.getLogger(f"{name}.child").setLevel(logging.ERROR)
    logging.getLogger(f"{name}.quiet")
    answer = service.get("/loglevel")
    assert (answer.status, answer.type) == (200, TEXT)
    lines = answer.text.split("\n")
    assert lines[0] == "=== Loggers and Levels ==="
    assert lines[-1] == ""
    assert f"{name}.child: ERROR" in lines
    assert f"{name}.quiet: NOTSET" in lines
    assert not any(line.startswith((f"{name}:", "root:")) for line in lines)


def test_list_is_in_the_order_of_creation(service, name):
    logging.getLogger(f"{name}.b")
    logging.getLogger(f"{name}.a")
    text = service.get("/loglevel").text
    assert text.index(f"{name}.b: ") < text.index(f"{name}.a: ")


def test_empty_parameters_count_as_absent(service):
    assert service.get("/loglevel?logger_name=&level=").text.startswith("=== Loggers and Levels ===\n")


def test_logger_is_read_without_a_line_end(service, name):
    logging.getLogger(name).setLevel(logging.DEBUG)
    answer = service.get(f"/loglevel?logger_name={name}")
    assert (answer.status, answer.type, answer.text) == (200, TEXT, f"{name}: DEBUG")


def test_level_without_a_name_of_its_own_prints_as_a_number(service, name):
    logging.getLogger(name).setLevel(15)
    assert service.get(f"/loglevel?logger_name={name}").text == f"{name}: Level 15"


def test_unknown_logger_is_not_set_and_is_not_made_by_asking(service, name):
    assert service.get(f"/loglevel?logger_name={name}").text == f"{name}: NOTSET"
    assert name not in logging.root.manager.loggerDict


def test_root_is_the_root_logger(service):
    assert service.get("/loglevel?logger_name=root").text == f"root: {logging.getLevelName(logging.root.level)}"


@pytest.mark.parametrize(
    ("word", "shown", "number"),
    [
        ("CRITICAL", "CRITICAL", 50),
        ("FATAL", "CRITICAL", 50),
        ("ERROR", "ERROR", 40),
        ("WARNING", "WARNING", 30),
        ("WARN", "WARNING", 30),
        ("info", "INFO", 20),
        ("Debug", "DEBUG", 10),
        ("NOTSET", "NOTSET", 0),
    ],
)
def test_level_is_set_and_reads_back_by_its_usual_name(service, name, word, shown, number):
    answer = service.get(f"/loglevel?logger_name={name}&level={word}")
    assert (answer.status, answer.type) == (200, TEXT)
    assert answer.text == f"Set {name} level to {word.upper()} (including all handlers)"
    assert logging.getLogger(name).level == number
    assert service.get(f"/loglevel?logger_name={name}").text == f"{name}: {shown}"


def test_own_handlers_follow_and_those_of_the_parent_do_not(service, name):
    parent, logger = logging.getLogger(name), logging.getLogger(f"{name}.child")
    above, own = logging.NullHandler(), logging.NullHandler()
    parent.addHandler(above)
    logger.addHandler(own)
    service.get(f"/loglevel?logger_name={name}.child&level=ERROR")
    assert (above.level, own.level) == (logging.NOTSET, logging.ERROR)


@pytest.mark.parametrize("level", ["10", "nope", "%20INFO", "INFO%20", "getlogger", "tr%C3%A4ce"])
def test_word_that_is_no_level_is_400_and_changes_nothing(service, name, level):
    logging.getLogger(name).setLevel(logging.ERROR)
    answer = service.get(f"/loglevel?logger_name={name}&level={level}")
    asked = level.replace("%20", " ").replace("%C3%A4", "\u00e4")
    assert (answer.status, answer.type, answer.text) == (400, TEXT, f"Invalid log level: {asked}")
    assert logging.getLogger(name).level == logging.ERROR


@pytest.mark.parametrize("level", ["_STYLES", "BASIC_FORMAT"])
def test_attribute_of_the_logging_module_that_is_no_level_changes_nothing(service, name, level):
    answer = service.get(f"/loglevel?logger_name={name}&level={level}")
    assert answer.status in (400, 500)
    assert level in answer.text
    assert service.get(f"/loglevel?logger_name={name}").text == f"{name}: NOTSET"


def test_level_without_a_logger_is_null_and_sets_nothing(service):
    before = logging.root.level
    answer = service.get("/loglevel?level=CRITICAL")
    assert (answer.status, answer.type, answer.body) == (200, "application/json", b"null")
    assert logging.root.level == before


def test_last_of_repeated_parameters_counts(service, name):
    answer = service.get(f"/loglevel?logger_name=other&logger_name={name}&level=DEBUG&level=ERROR")
    assert answer.text == f"Set {name} level to ERROR (including all handlers)"
    assert logging.getLogger(name).level == logging.ERROR


def test_line_break_in_a_name_comes_back_and_starts_no_line_of_our_log(service, caplog):
    caplog.set_level(logging.DEBUG)
    answer = service.get("/loglevel?logger_name=a%0D%0AFORGED&level=nope")
    assert answer.text == "Invalid log level: nope"
    assert service.get("/loglevel?logger_name=a%0AFORGED").text == "a\nFORGED: NOTSET"
    assert not any("\n" in record.getMessage() for record in caplog.records if record.name.startswith("lmcache_admin"))


def test_post_sets_the_level_of_a_logger_and_of_its_handlers(service, name):
    logger, handler = logging.getLogger(name), logging.StreamHandler()
    logger.addHandler(handler)
    answer = service.post(f"/loglevel?logger_name={name}&level=debug")
    assert (answer.status, answer.type) == (200, TEXT)
    assert answer.text == f"Set {name} level to DEBUG (including all handlers)"
    assert (logger.level, handler.level) == (logging.DEBUG, logging.DEBUG)


@pytest.mark.parametrize("query", ["level=DEBUG", "logger_name=&level=DEBUG", ""])
def test_post_without_a_logger_is_400_and_sets_nothing(service, query):
    before = logging.root.level
    answer = service.post(f"/loglevel?{query}")
    assert (answer.status, answer.json()["error"]) == (400, "Missing parameter")
    assert logging.root.level == before


@pytest.mark.parametrize("level", ["", "10", "nope", "BASIC_FORMAT", "_STYLES"])
def test_post_of_what_is_no_level_is_400_with_those_that_are(service, name, level):
    logging.getLogger(name).setLevel(logging.ERROR)
    answer = service.post(f"/loglevel?logger_name={name}&level={level}")
    assert (answer.status, answer.json()["error"]) == (400, "Invalid log level")
    assert "CRITICAL, FATAL, ERROR, WARNING" in answer.json()["message"]
    assert logging.getLogger(name).level == logging.ERROR

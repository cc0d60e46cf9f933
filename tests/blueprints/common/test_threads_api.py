"""GET /threads: stacks of the process's threads."""

import threading

import pytest

SUMMARY = "\n\n=== Thread Summary ===\nTotal threads: {}\n"


@pytest.fixture
def waiting():
    """A thread that waits in a function of this file."""
    ready, release = threading.Event(), threading.Event()

    def wait_in_the_open():
        ready.set()
        release.wait()

    thread = threading.Thread(target=wait_in_the_open, name="Tests-Waiting-1")
    thread.start()
    ready.wait()
    yield thread
    release.set()
    thread.join()


def test_every_thread_is_shown_with_its_stack(service, waiting):
    answer = service.get("/threads")
    assert (answer.status, answer.type) == (200, "text/plain; charset=utf-8")
    assert "Thread: <_MainThread(MainThread, started " in answer.text
    assert "Thread: <Thread(Tests-Waiting-1, started " in answer.text
    assert "in wait_in_the_open" in answer.text
    total = int(answer.text.rsplit("Total threads: ", 1)[1])
    assert answer.text.count("Thread: <") == total


def test_name_is_a_part_in_any_letter_case(service, waiting):
    answer = service.get("/threads?name=tests-WAITING")
    head = f"Thread: <Thread(Tests-Waiting-1, started {waiting.ident})>\nStack trace:\n  File "
    assert answer.text.startswith(head)
    assert answer.text.endswith("\n" + SUMMARY.format(1))


@pytest.mark.parametrize("form", ["{}", "%20{}%20", "%2B{}", "{}.0", "0{}"])
def test_thread_is_found_by_its_identifier(service, waiting, form):
    answer = service.get(f"/threads?thread_id={form.format(waiting.ident)}")
    assert "Thread: <Thread(Tests-Waiting-1" in answer.text
    assert answer.text.endswith(SUMMARY.format(1))


def test_name_and_identifier_must_both_fit(service, waiting):
    assert service.get(f"/threads?name=main&thread_id={waiting.ident}").text == SUMMARY.format(0)


def test_identifier_0_and_an_empty_name_count_as_absent(service, waiting):
    assert "Tests-Waiting-1" in service.get("/threads?thread_id=0&name=").text


@pytest.mark.parametrize("query", ["name=no-thread-of-this-name", "thread_id=1", "thread_id=" + "9" * 20])
def test_nothing_found_is_the_summary_alone(service, query):
    answer = service.get(f"/threads?{query}")
    assert (answer.status, answer.text) == (200, SUMMARY.format(0))


@pytest.mark.parametrize("given", ["x", "", "1.5", "1e3", "0x1", "1.", "9" * 5000], ids=lambda given: given[:8])
def test_identifier_that_is_no_integer_is_422_with_what_was_given(service, given):
    answer = service.get(f"/threads?thread_id={given}")
    assert answer.status == 422
    body = answer.json()
    assert body["error"] == "Invalid parameters"
    assert body["errors"] == {"query": {"thread_id": [f"{given!r} is not an integer."]}}
    assert body["message"] == f"query.thread_id: {given!r} is not an integer."


def test_last_identifier_counts(service, waiting):
    answer = service.get(f"/threads?thread_id=1&thread_id={waiting.ident}")
    assert answer.text.endswith(SUMMARY.format(1))


def test_secret_in_a_stack_line_is_masked(service):
    ready, release = threading.Event(), threading.Event()

    def hold():
        ready.set()
        release.wait()

    thread = threading.Thread(target=hold, name="Tests-password=hunter2-and-more")
    thread.start()
    ready.wait()
    text = service.get("/threads?name=Tests-password").text
    release.set()
    thread.join()
    assert "hunter2" not in text
    assert "Total threads: 1" in text

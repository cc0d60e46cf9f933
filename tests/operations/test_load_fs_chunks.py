"""Loading chunks from a source of any host: threads, cancelling, failures, and an end when memory is full."""

import threading

import pytest

from lmcache_admin.errors import Conflict, Detail, Failure
from lmcache_admin.jobs import Cancelled, Job
from lmcache_admin.operations import load_fs_chunks
from lmcache_admin.operations.load_fs_chunks import THREADS, Wanted

WANTED = Wanted("/store.yaml", None, 10)


class Source:
    """A source in memory; `answers` says by key what loading it comes to, an exception included."""

    def __init__(self, keys, answers=None):
        self._keys, self._answers = keys, answers or {}
        self.loaded, self.closed = [], False

    def keys(self):
        return self._keys

    def load(self, key):
        self.loaded.append(key)
        answer = self._answers.get(key, ("loaded", ""))
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def holds(self, key):
        return key != "gone"

    def close(self):
        self.closed = True


class Host:
    """A runtime and an engine in one that open a source."""

    def __init__(self, source, hot=True):
        self.source, self.hot = source, hot

    def open_chunk_source(self, engine, store):
        if isinstance(self.source, Exception):
            raise self.source
        return self.source

    def is_hot_cache_enabled(self):
        return self.hot


def load(source, wanted=WANTED, job=None, hot=True):
    host = Host(source, hot)
    return load_fs_chunks.load(host, host, {}, wanted, job or Job.detached())


def test_each_chunk_is_loaded_once_and_the_source_is_closed():
    source = Source([str(number) for number in range(1000)])
    answer = load(source)
    assert (answer["loaded_chunks"], answer["total_files"]) == (1000, 1000)
    assert sorted(source.loaded, key=int) == source.keys()
    assert source.closed


def test_four_chunks_are_read_at_a_time_and_no_more():
    class Meeting(Source):
        together = threading.Barrier(THREADS, timeout=30)
        reading = most = 0
        lock = threading.Lock()

        def load(self, key):
            with self.lock:
                Meeting.reading += 1
                Meeting.most = max(self.most, self.reading)
            self.together.wait()
            with self.lock:
                Meeting.reading -= 1
            self.together.wait()
            return super().load(key)

    assert load(Meeting(list("abcdefgh")))["loaded_chunks"] == 8
    assert Meeting.most == THREADS


def test_progress_and_each_failure_are_the_jobs():
    job = Job.detached()
    load(Source(["a", "b", "c"], {"b": ("failed", "it is damaged"), "c": ("skipped", "another worker's")}), job=job)
    told = job.describe()
    assert (told["progress"]["done"], told["progress"]["of"], told["progress"]["unit"]) == (3, 3, "chunks")
    assert (told["error_count"], told["errors"]) == (1, [{"item": "b", "error": "it is damaged"}])


def test_a_chunk_whose_loading_raises_is_a_failed_one():
    answer = load(Source(["a", "b", "c"], {"b": ZeroDivisionError("boom"), "c": KeyError("k")}))
    assert (answer["loaded_chunks"], answer["failed_chunks"]) == (1, 2)
    assert answer["failed_reasons"] == {"b": "ZeroDivisionError: boom", "c": "KeyError: 'k'"}


def test_a_full_memory_ends_it_and_the_rest_is_skipped():
    keys = [str(number) for number in range(100)]
    source = Source(keys, dict.fromkeys(keys[10:], ("full", "memory is full")))
    answer = load(source)
    assert answer["status"] == "success"
    assert (answer["loaded_chunks"], answer["skipped_chunks"]) == (10, 90)
    assert answer["skipped_reasons"] == {"memory is full": 90}
    assert len(source.loaded) <= 10 + THREADS


def test_what_was_loaded_and_is_gone_again_is_said():
    assert load(Source(["a", "gone"]))["evicted_chunks"] == 1


def test_a_thousand_failures_are_listed_and_all_are_counted():
    keys = [str(number) for number in range(1100)]
    answer = load(Source(keys, dict.fromkeys(keys, ("failed", "bad"))), Wanted("/store.yaml", None, 5000))
    assert (len(answer["failed_keys"]), answer["failed_chunks"]) == (1000, 1100)


def test_cancelling_ends_it_at_the_next_chunk():
    job = Job.detached()

    class Cancelling(Source):
        def load(self, key):
            if len(self.loaded) >= 10:
                job.cancel()
            return super().load(key)

    source = Cancelling([str(number) for number in range(1000)])
    with pytest.raises(Cancelled):
        load(source, job=job)
    assert source.closed
    assert len(source.loaded) <= 10 + 2 * THREADS


def test_a_thread_that_is_asked_to_end_the_process_ends_the_load():
    source = Source([str(number) for number in range(1000)], {"5": SystemExit(3)})
    with pytest.raises(SystemExit):
        load(source)
    assert source.closed


def test_a_source_that_cannot_be_opened_is_500():
    with pytest.raises(Detail) as caught:
        load(RuntimeError("no such thing"))
    assert (caught.value.status, caught.value.body) == (
        500,
        {"detail": "Failed to initialize RemoteBackend: no such thing"},
    )


def test_a_source_without_a_connection_is_500():
    with pytest.raises(Detail) as caught:
        load(None)
    assert (caught.value.status, caught.value.body) == (500, {"detail": "FSConnector not initialized"})


def test_a_source_that_cannot_be_listed_is_500():
    class Unlisted(Source):
        def keys(self):
            raise OSError("out of reach")

    source = Unlisted([])
    with pytest.raises(Detail) as caught:
        load(source)
    assert (caught.value.status, caught.value.body) == (500, {"detail": "Chunk loading failed: out of reach"})
    assert source.closed


def test_whatever_else_fails_is_500_with_the_files_path():
    class Failing(Source):
        def holds(self, key):
            raise RuntimeError("boom")

    with pytest.raises(Failure) as caught:
        load(Failing(["a"]))
    assert (caught.value.status, caught.value.body) == (
        500,
        {"error": "Failed to load chunks from FSConnector", "message": "boom", "config_path": "/store.yaml"},
    )


def test_nothing_is_loaded_while_the_hot_cache_is_off():
    source = Source(["a"])
    with pytest.raises(Conflict):
        load(source, hot=False)
    assert (source.loaded, source.closed) == ([], True)

"""GET /periodic-threads, /periodic-threads/{name} and /periodic-threads-health."""

import pytest

LEVELS = ("critical", "high", "medium", "low")
NONE = {"total": 0, "running": 0, "active": 0}
SUMMARY = {"timestamp": 5.0, "duration_ms": 1.5, "success": True, "message": "done", "extra_info": {"n": "0"}}


class Thread:
    """A periodic thread of a host."""

    def __init__(self, name, level, running=True, active=True, **more):
        self.status = {
            "name": name,
            "level": level,
            "interval": 30,
            "init_wait": 0.0,
            "is_running": running,
            "is_active": active,
            "last_run_time": 5.0,
            "last_run_ago": 2.5,
            "total_runs": 4,
            "failed_runs": 1,
            "success_rate": 75.0,
            "last_summary": SUMMARY,
            **more,
        }

    def get_status(self):
        return self.status


class Registry:
    """The registry of a host's periodic threads, in LMCache's form."""

    def __init__(self, *threads):
        self.threads = threads

    def get_all(self):
        return list(self.threads)

    def get(self, name):
        return next((thread for thread in self.threads if thread.status["name"] == name), None)

    def get_summary(self):
        every = [thread.status for thread in self.threads]
        return {
            **self._count(every, "_count"),
            "by_level": {
                level: self._count([status for status in every if status["level"] == level]) for level in LEVELS
            },
        }

    @staticmethod
    def _count(statuses, end=""):
        return {
            f"total{end}": len(statuses),
            f"running{end}": sum(status["is_running"] for status in statuses),
            f"active{end}": sum(status["is_active"] for status in statuses),
        }


class Runtime:
    """What the process offers beside the manager: periodic threads."""

    def __init__(self, registry):
        self.registry = registry

    def periodic_threads(self):
        return self.registry


@pytest.fixture
def host(service):
    """Give the running service a host with these periodic threads."""

    def give(*threads):
        service.server.service.runtime = Runtime(Registry(*threads))
        return service

    return give


@pytest.fixture
def busy(host):
    """A host with one thread of each kind of state."""
    return host(
        Thread("pin", "critical"),
        Thread("late", "high", active=False),
        Thread("stopped", "medium", running=False, active=False),
        Thread("monitor", "low"),
    )


def names(answer):
    assert answer.status == 200
    return [thread["name"] for thread in answer.json()["threads"]]


def test_process_without_periodic_threads_counts_none(service):
    answer = service.get("/periodic-threads")
    assert (answer.status, answer.type) == (200, "application/json")
    assert answer.json() == {
        "summary": {"total_count": 0, "running_count": 0, "active_count": 0, "by_level": dict.fromkeys(LEVELS, NONE)},
        "threads": [],
    }


def test_list_has_every_thread_whole_and_in_compact_json(host):
    answer = host(Thread("pin", "critical")).get("/periodic-threads")
    assert answer.json()["threads"] == [Thread("pin", "critical").status]
    assert '"threads":[{"name":"pin","level":"critical","interval":30,"init_wait":0.0,"is_running":true' in answer.text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["pin", "late", "stopped", "monitor"]),
        ("level=", ["pin", "late", "stopped", "monitor"]),
        ("level=critical", ["pin"]),
        ("level=HIGH", ["late"]),
        ("level=low&level=Medium", ["stopped"]),
        ("running_only=true", ["pin", "late", "monitor"]),
        ("active_only=1", ["pin", "monitor"]),
        ("running_only=YES&level=high", ["late"]),
        ("running_only=on&active_only=t&level=high", []),
        ("running_only=no&active_only=off", ["pin", "late", "stopped", "monitor"]),
        ("unknown=1", ["pin", "late", "stopped", "monitor"]),
    ],
)
def test_filters_are_combined(busy, query, expected):
    assert names(busy.get(f"/periodic-threads?{query}")) == expected


def test_summary_is_of_all_threads_whatever_the_filters_say(busy):
    summary = busy.get("/periodic-threads?level=low").json()["summary"]
    assert (summary["total_count"], summary["running_count"], summary["active_count"]) == (4, 3, 2)
    assert summary["by_level"]["high"] == {"total": 1, "running": 1, "active": 0}


@pytest.mark.parametrize(("given", "shown"), [("nope", "nope"), ("%20high", " high"), ("low,high", "low,high")])
def test_unknown_level_is_400_with_what_is_valid(service, given, shown):
    answer = service.get(f"/periodic-threads?level={given}")
    assert answer.status == 400
    assert answer.json() == {"error": f"Invalid level: {shown}. Valid values: critical, high, medium, low"}


@pytest.mark.parametrize("given", ["2", "", "%20true", "maybe", "none"])
def test_switch_that_is_no_boolean_is_422(service, given):
    answer = service.get(f"/periodic-threads?active_only={given}&level=nope")
    assert answer.status == 422
    assert list(answer.json()["errors"]["query"]) == ["active_only"]
    assert "allowed: true, false" in answer.json()["message"]


def test_one_thread_is_found_by_its_name(busy):
    answer = busy.get("/periodic-threads/late")
    assert (answer.status, answer.type) == (200, "application/json")
    assert answer.json() == Thread("late", "high", active=False).status


@pytest.mark.parametrize(("path", "name"), [("x%20y", "x y"), ("%FF", "\ufffd"), ("later", "later"), ("%2e", ".")])
def test_unknown_thread_is_404_by_its_name(busy, path, name):
    answer = busy.get(f"/periodic-threads/{path}")
    assert (answer.status, answer.json()) == (404, {"error": f"Thread not found: {name}"})


def test_encoded_slash_counts_as_a_separator(busy):
    answer = busy.get("/periodic-threads/a%2Fb")
    assert (answer.status, answer.json()["detail"]) == (404, "Not Found")


def test_process_without_threads_is_healthy(service):
    answer = service.get("/periodic-threads-health")
    assert answer.json() == {"healthy": True, "unhealthy_count": 0, "unhealthy_threads": []}


def test_late_threads_are_listed_critical_before_high(host):
    running = host(
        Thread("late-high", "high", active=False),
        Thread("late-low", "low", active=False),
        Thread("late-critical", "critical", active=False, last_run_ago=None),
    )
    answer = running.get("/periodic-threads-health")
    assert answer.status == 200
    assert answer.json() == {
        "healthy": False,
        "unhealthy_count": 2,
        "unhealthy_threads": [
            {"name": "late-critical", "level": "critical", "last_run_ago": None, "interval": 30},
            {"name": "late-high", "level": "high", "last_run_ago": 2.5, "interval": 30},
        ],
    }


def test_thread_that_has_died_is_unhealthy_and_a_stopped_one_is_not(host):
    running = host(
        Thread("dead", "critical", running=False, active=False, died=True),
        Thread("stopped", "critical", running=False, active=False),
    )
    report = running.get("/periodic-threads-health").json()
    assert [thread["name"] for thread in report["unhealthy_threads"]] == ["dead"]


@pytest.mark.parametrize("path", ["/periodic-threads", "/periodic-threads/ping"])
def test_secret_in_a_summary_is_masked(host, path):
    summary = {**SUMMARY, "message": "cannot reach redis://user:hunter2@cache:6379", "extra_info": {"token": "hunter2"}}
    answer = host(Thread("ping", "low", last_summary=summary)).get(path)
    assert answer.status == 200
    assert "hunter2" not in answer.text
    assert "redis://user:******@cache:6379" in answer.text

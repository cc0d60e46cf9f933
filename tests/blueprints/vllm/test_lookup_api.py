"""GET /lookup/info, POST /lookup/close, /lookup/create and /lookup/recreate."""

import threading
from types import SimpleNamespace

import pytest

from lmcache_admin.engine import Configuration
from lmcache_admin.operations import lookup

SIDES = {"scheduler": ("client", "LookupClient"), "worker": ("server", "LookupServer")}
CHANGES = ("close", "create", "recreate")
UNAVAILABLE = '{\n  "error": "API unavailable"\n}'


def info(running):
    return running.get("/lookup/info").json()


@pytest.mark.parametrize("role", sorted(SIDES))
class TestEmbeddedEngine:
    def test_client_or_server_is_shown_by_its_class(self, serve, role):
        side, kind = SIDES[role]
        answer = serve(role=role).get("/lookup/info")
        client, server = (kind, "None") if side == "client" else ("None", kind)
        assert (answer.status, answer.type) == (200, "application/json")
        assert answer.text == f'{{\n  "client": "{client}",\n  "server": "{server}"\n}}'

    def test_it_is_closed_created_and_recreated_in_the_words_of_the_contract(self, serve, role):
        running = serve(role=role)
        side, kind = SIDES[role]
        steps = [
            ("close", 200, {"old": kind, "role": role}),
            ("close", 200, {"old": "None", "role": role}),
            ("recreate", 400, {"error": f"lookup {side} not available", "role": role}),
            ("create", 200, {"new": kind, "role": role}),
            ("create", 200, {"new": kind, "role": role}),
            ("recreate", 200, {"old": kind, "new": kind, "role": role}),
        ]
        for verb, status, body in steps:
            answer = running.post(f"/lookup/{verb}")
            assert (answer.status, answer.type) == (status, "application/json")
            assert list(answer.json().items()) == list(body.items())
        assert info(running)[side] == kind

    @pytest.mark.parametrize("yes", ["true", "True", "1", "yes", "on", "t", "y"])
    def test_a_dry_run_tells_and_changes_nothing(self, serve, role, yes):
        running = serve(role=role)
        side, kind = SIDES[role]
        before = getattr(running.manager, f"lookup_{side}")
        answer = running.post(f"/lookup/create?dryrun={yes}")
        assert answer.text == f'{{\n  "new": "{kind}",\n  "dryrun": true,\n  "role": "{role}"\n}}'
        assert getattr(running.manager, f"lookup_{side}") is before
        running.post("/lookup/close")
        assert running.post(f"/lookup/create?dryrun={yes}").json()["new"] == kind
        assert info(running)[side] == "None"

    @pytest.mark.parametrize("no", ["false", "0", "no", "off", "true&dryrun=false"])
    def test_what_is_no_dry_run_creates(self, serve, role, no):
        running = serve(role=role)
        running.post("/lookup/close")
        answer = running.post(f"/lookup/create?dryrun={no}", '{"dryrun": true}')
        assert answer.json() == {"new": SIDES[role][1], "role": role}
        assert SIDES[role][1] in info(running).values()

    @pytest.mark.parametrize("bad", ["", "2", "-1", "None", "maybe", "%20true", "true,true", "x" * 5000, "%00"])
    def test_a_dry_run_that_is_no_switch_is_422_and_changes_nothing(self, serve, role, bad):
        running = serve(role=role)
        running.post("/lookup/close")
        answer = running.post(f"/lookup/create?dryrun={bad}")
        assert (answer.status, answer.type) == (422, "application/json")
        assert "is not a boolean" in answer.json()["errors"]["query"]["dryrun"][0]
        assert info(running) == {"client": "None", "server": "None"}

    def test_ten_thousand_parameters_are_refused_and_nothing_is_changed(self, serve, role):
        running = serve(role=role)
        running.post("/lookup/close")
        assert running.post("/lookup/create?" + "dryrun=false&" * 10_000).status in (400, 414, 422, 431)
        assert info(running) == {"client": "None", "server": "None"}


def test_a_wrapped_client_is_shown_from_the_outside(serve):
    running = serve(role="scheduler", hit_miss_ratio=0.5)
    assert info(running)["client"] == "HitLimitLookupClient(LookupClient)"
    assert running.post("/lookup/close").json()["old"] == "HitLimitLookupClient(LookupClient)"


def test_what_cannot_be_made_is_400_and_leaves_what_is_there(serve):
    running = serve(role="scheduler")
    running.manager.config.external_lookup_client = "mooncakestore://nowhere"
    for path in ("/lookup/create", "/lookup/create?dryrun=true", "/lookup/recreate"):
        answer = running.post(path)
        assert (answer.status, answer.json()["role"]) == (400, "scheduler")
        assert "external_lookup_client" in answer.json()["error"]
    assert info(running)["client"] == "LookupClient"


def test_a_server_without_an_engine_is_400(serve):
    running = serve()
    engine, running.manager.lmcache_engine = running.manager.lmcache_engine, None
    answers = [running.post(f"/lookup/{end}") for end in ("create", "create?dryrun=true")]
    running.manager.lmcache_engine = engine
    for answer in answers:
        assert (answer.status, answer.json()) == (400, {"error": "engine not available", "role": "worker"})


def test_a_configuration_that_was_changed_counts_for_the_next_client(serve):
    running = serve(role="scheduler")
    running.post("/conf", '{"hit_miss_ratio": 0.25}')
    answer = running.post("/lookup/recreate")
    assert (answer.json()["old"], answer.json()["new"]) == ("LookupClient", "HitLimitLookupClient(LookupClient)")


@pytest.mark.parametrize(("method", "verb"), [("GET", "create"), ("PUT", "close"), ("POST", "info"), ("GET", "close")])
def test_other_methods_are_405(service, method, verb):
    assert service.request(method, f"/lookup/{verb}").status == 405


class Host:
    """A manager whose lookup methods, those that it has, do what the test says."""

    def __init__(self, prefix, role="scheduler", extra=None, **methods):
        values = {"internal_api_server_enabled": True, "internal_api_server_socket_path_prefix": prefix}
        values["extra_config"] = extra
        self.config = Configuration.from_mapping(values, {})
        self.lmcache_engine = None
        self.lmcache_engine_metadata = SimpleNamespace(role=role, worker_id=0)
        vars(self).update(methods)

    def is_healthy(self):
        return True


@pytest.fixture
def host(serve, tmp_path):
    """Serve a `Host`."""
    return lambda *args, **methods: serve(Host(str(tmp_path / "api"), *args, **methods))


def methods(act, role="scheduler"):
    """All lookup methods of a role, each of which does `act`."""
    names = [f"{verb}_lookup_{SIDES[role][0]}" for verb in CHANGES]
    return {"get_lookup_info": lambda: act(), **{name: lambda **_: act() for name in names}}


@pytest.mark.parametrize("verb", CHANGES)
@pytest.mark.parametrize("role", [None, "unknown", "", 5, ["worker"], "Worker"])
def test_unknown_role_is_400_and_the_host_is_not_asked(host, role, verb):
    asked = []
    answer = host(role, **methods(lambda: asked.append(verb))).post(f"/lookup/{verb}")
    assert (answer.status, answer.text, asked) == (400, '{\n  "error": "Unknown role"\n}', [])


@pytest.mark.parametrize("verb", CHANGES)
def test_manager_without_metadata_has_no_role(host, verb):
    running = host()
    running.manager.lmcache_engine_metadata = None
    assert running.post(f"/lookup/{verb}").json() == {"error": "Unknown role"}


@pytest.mark.parametrize("role", sorted(SIDES))
def test_manager_without_the_method_is_503(host, role):
    running = host(role)
    for answer in (running.get("/lookup/info"), *(running.post(f"/lookup/{verb}") for verb in CHANGES)):
        assert (answer.status, answer.type, answer.text) == (503, "application/json", UNAVAILABLE)
    assert running.post("/lookup/create?dryrun=true").status == 503


@pytest.mark.parametrize(("method", "verb"), [("GET", "info"), *(("POST", verb) for verb in CHANGES)])
class TestHostThatFails:
    def test_an_exception_is_500_that_says_what_failed(self, host, method, verb):
        def boom():
            raise AssertionError("engine_id is required")

        answer = host(**methods(boom)).request(method, f"/lookup/{verb}")
        assert (answer.status, answer.type) == (500, "application/json")
        assert set(answer.json()) == {"error", "message"}
        assert answer.json()["message"] == "engine_id is required"

    @pytest.mark.parametrize("junk", [None, 5, "text", b"bytes", [1]])
    def test_junk_is_502_that_says_what_was_expected(self, host, method, verb, junk):
        answer = host(**methods(lambda: junk)).request(method, f"/lookup/{verb}")
        assert answer.status == 502
        assert f"answered a {type(junk).__name__}, expected" in answer.json()["message"]


def test_a_client_that_the_host_could_not_close_is_a_failure(host):
    running = host(
        close_lookup_client=lambda: {"old": "Client"},
        get_lookup_info=lambda: {"client": "Client", "server": "None"},
    )
    answer = running.post("/lookup/close")
    assert (answer.status, answer.json()["error"]) == (500, "Failed to close lookup")
    assert "the lookup client is still there: Client" in answer.json()["message"]


def test_closing_needs_no_lookup_info(host):
    answer = host(close_lookup_client=lambda: {"old": "Client"}).post("/lookup/close")
    assert (answer.status, answer.json()) == (200, {"old": "Client", "role": "scheduler"})


def test_a_host_that_cannot_tell_is_asked_for_its_own_dry_run(host):
    asked = []

    def create(dryrun=False):
        asked.append(dryrun)
        return {"new": "Client", "dryrun": dryrun}

    answer = host(create_lookup_client=create).post("/lookup/create?dryrun=true")
    assert (answer.status, answer.json()) == (200, {"new": "Client", "dryrun": True, "role": "scheduler"})
    assert asked == [True]


def test_what_the_process_can_tell_of_a_dry_run_is_not_asked_of_the_host(host):
    running = host(create_lookup_client=lambda dryrun: pytest.fail("LMCache's own dry run never returns"))
    told = {"new": "LMCacheLookupClient", "dryrun": True}
    running.server.service.runtime = SimpleNamespace(describe_lookup=lambda manager, side: {**told, "side": side})
    answer = running.post("/lookup/create?dryrun=true")
    assert (answer.status, answer.json()) == (200, {**told, "side": "client", "role": "scheduler"})


class Slow:
    """A call that lasts until the test lets it end."""

    def __init__(self):
        self.began, self.may_end, self.count, self.most = threading.Event(), threading.Event(), 0, 0

    def __call__(self, **_):
        self.count += 1
        self.most = max(self.most, self.count)
        self.began.set()
        assert self.may_end.wait(60)
        self.count -= 1
        return {"old": "Client", "new": "Client"}


def in_background(call, times=1):
    """Call in threads of their own; returns the answers as they come, and a wait for all."""
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(call())) for _ in range(times)]
    for thread in threads:
        thread.start()
    return answers, lambda: [thread.join() for thread in threads]


def test_the_host_gets_one_change_at_a_time(host):
    slow = Slow()
    running = host(recreate_lookup_client=slow)
    answers, finish = in_background(lambda: running.post("/lookup/recreate").status, times=2)
    assert slow.began.wait(30)
    slow.may_end.set()
    finish()
    assert (answers, slow.most) == ([200, 200], 1)


def test_a_change_that_hangs_is_409_for_others_and_reads_go_on(host, monkeypatch):
    monkeypatch.setattr(lookup, "PATIENCE", 0.05)  # seconds; the test would wait for the real five
    slow = Slow()
    running = host(recreate_lookup_client=slow, close_lookup_client=slow, get_lookup_info=lambda: {"client": "Client"})
    answers, finish = in_background(lambda: running.post("/lookup/recreate").status)
    assert slow.began.wait(30)
    refused = running.post("/lookup/close")
    assert (refused.status, refused.json()["error"]) == (409, "Failed to close lookup")
    assert info(running) == {"client": "Client"}
    assert running.get("/healthz").status == 200
    slow.may_end.set()
    finish()
    assert answers == [200]


def test_a_dry_run_of_the_host_that_hangs_ends_with_504_and_the_server_goes_on(host):
    slow = Slow()
    extra = {"internal_api_server_deadlines": {"change": 0.2}}
    running = host(
        extra=extra,
        create_lookup_client=slow,
        close_lookup_client=lambda: {"old": "Client"},
        get_lookup_info=lambda: {"client": "None"},
    )
    answer = running.post("/lookup/create?dryrun=true")
    assert (answer.status, answer.type) == (504, "application/json")
    assert info(running) == {"client": "None"}
    assert running.post("/lookup/close").json() == {"old": "Client", "role": "scheduler"}
    slow.may_end.set()

"""An endpoint is a file: added in a folder, it is served, and a broken one takes nothing else down."""

import sys
from pathlib import Path

import pytest

from lmcache_admin import InternalAPIServer, create_app
from lmcache_admin.engine import Configuration, Manager
from lmcache_admin.settings import Settings

GREET = '''
"""Greets."""

from lmcache_admin.blueprint import AdminBlueprint, Schema, fields

blueprint = AdminBlueprint("greet")


class Query(Schema):
    times = fields.Integer(required=True)


@blueprint.get("/greet", operation="greet", role="viewer", lane="light")
@blueprint.arguments(Query, location="query")
def greet(query):
    """Greet somebody."""
    return {"greeting": "hello " * query["times"]}


@blueprint.put("/greet/mute", operation="mute the greeting", role="operator", lane="change")
def mute():
    """Mute."""
    return {"muted": True}


@blueprint.put("/greet/forget", operation="forget everybody", role="admin", lane="change")
def forget():
    """Forget."""
    return {"forgotten": True}
'''
PLAIN = '''
from flask import Blueprint, jsonify

blueprint = Blueprint("plain", __name__)


@blueprint.get("/plain/<name>")
def plain(name):
    return jsonify({"plain": name})
'''
ROUTE = '''
from lmcache_admin.blueprint import AdminBlueprint

blueprint = AdminBlueprint("{name}")


@blueprint.get("{path}", operation="answer", role="viewer", lane="light")
def answer():
    return {{"from": "{name}"}}
'''


def write(folder, category, name, text):
    path = Path(folder) / category / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def folder(tmp_path):
    """An operator's folder."""
    made = tmp_path / "ours"
    made.mkdir()
    return made


@pytest.fixture
def extended(serve, folder):
    """Start a server with the operator's folder."""
    return lambda **options: serve(**{"extra": {"blueprint_paths": [str(folder)]}, **options})


def left_out(running):
    return {Path(f["file"]).name: f["error"] for f in running.get("/blueprints").json()["files"] if f["error"]}


def test_added_file_is_served_after_a_restart(serve, folder, extended):
    running = extended()
    assert running.get("/greet?times=2").status == 404
    running.server.stop()
    write(folder, "common", "greet_api.py", GREET)
    again = serve(running.manager)
    answer = again.get("/greet?times=2")
    assert (answer.status, answer.type, answer.json()) == (200, "application/json", {"greeting": "hello hello "})


@pytest.fixture
def greeting(folder, extended):
    write(folder, "common", "greet_api.py", GREET)
    return extended


def test_its_parameters_are_validated(greeting):
    running = greeting()
    wrong, missing = running.get("/greet?times=x"), running.get("/greet")
    assert (wrong.status, wrong.json()["errors"]) == (422, {"query": {"times": ["'x' is not an integer."]}})
    assert (missing.status, list(missing.json()["errors"]["query"])) == (422, ["times"])


def test_it_is_in_openapi_and_under_blueprints(greeting, folder):
    running = greeting()
    operation = running.get("/openapi.json").json()["paths"]["/greet"]["get"]
    assert (operation["x-operation"], operation["parameters"][0]["name"]) == ("greet", "times")
    listed = next(f for f in running.get("/blueprints").json()["files"] if f["blueprint"] == "greet")
    assert listed["file"] == str(folder / "common" / "greet_api.py")
    assert listed["origin"] == "internal_api_server_blueprint_paths"
    assert listed["routes"] == ["GET /greet", "PUT /greet/forget", "PUT /greet/mute"]


def test_its_roles_are_asked_for(greeting):
    running = greeting(tcp=True)
    assert running.get("/greet?times=1").status == 200
    assert [running.put(f"/greet/{word}").status for word in ("mute", "forget")] == [200, 403]
    assert running.request("PUT", "/greet/mute", headers={"Origin": "http://evil.example"}).status == 403


def test_its_changes_are_in_the_audit(greeting):
    running = greeting()
    running.put("/greet/mute")
    entry = running.get("/audit?limit=1").json()["entries"][0]
    assert (entry["route"], entry["operation"], entry["outcome"]) == ("/greet/mute", "mute the greeting", "done")


def test_plain_flask_blueprint_is_served_to_admins_in_the_change_lane(folder, extended):
    write(folder, "common", "plain_api.py", PLAIN)
    assert extended().get("/plain/x").json() == {"plain": "x"}
    route = next(r for r in extended(worker_id=1).get("/blueprints").json()["routes"] if r["path"] == "/plain/<name>")
    assert (route["role"], route["lane"]) == ("admin", "change")
    assert extended(tcp=True).get("/plain/x").status == 403


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (GREET.replace('role="viewer", ', ""), "TypeError: GET /greet does not declare role"),
        (GREET.replace('operation="greet", role="viewer", lane="light"', ""), "does not declare operation, role, lane"),
        (GREET.replace('role="viewer"', 'role="boss"'), "role='boss' is not one of viewer, operator, admin"),
        (GREET.replace('lane="light"', 'lane="fast"'), "lane='fast' is not one of light, read, change, job"),
        ("import no_such_module_xyz", "ModuleNotFoundError: No module named 'no_such_module_xyz'"),
        ("x = 1", "it exports no Flask blueprint under the name `blueprint`"),
        ("blueprint = 5", "it exports no Flask blueprint under the name `blueprint`"),
        ("this is no python", "SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        (ROUTE.format(name="taken", path="/freeze/status"), "the route GET /freeze/status is taken"),
        (ROUTE.format(name="taken", path="/periodic-threads/<other>"), "GET /periodic-threads/<other> is taken"),
        (ROUTE.format(name="bad", path="no-slash"), "must start with a slash"),
    ],
)
def test_broken_file_is_left_out_with_its_error_and_everything_else_is_served(folder, extended, caplog, text, error):
    write(folder, "common", "broken_api.py", text)
    write(folder, "common", "good_api.py", ROUTE.format(name="good", path="/good"))
    running = extended()
    assert error in left_out(running)["broken_api.py"]
    assert running.get("/good").json() == {"from": "good"}
    assert running.get("/freeze/status").json()["freeze"] is False
    assert running.get("/version").status == 200
    assert any("broken_api.py" in record.getMessage() for record in caplog.records if record.levelname == "ERROR")


def test_broken_file_leaves_no_route_behind(folder, extended):
    more = '\n\n@blueprint.get("/more", operation="x", role="viewer")\ndef more(): ...\n'
    text = ROUTE.format(name="half", path="/half") + more
    write(folder, "common", "half_api.py", text)
    running = extended()
    assert "does not declare lane" in left_out(running)["half_api.py"]
    assert running.get("/half").status == 404


@pytest.mark.parametrize("place", ["common/greet.py", "common/_api.py.txt", "greet_api.py", "other/greet_api.py"])
def test_files_of_other_names_and_places_are_not_looked_at(folder, extended, place):
    category, _, name = place.rpartition("/")
    write(folder, category, name, "raise RuntimeError('looked at')")
    running = extended()
    assert left_out(running) == {}


def test_equal_file_names_in_two_folders_do_not_collide(serve, tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name, "common", "same_api.py", ROUTE.format(name="same", path=f"/{name}"))
    running = serve(extra={"blueprint_paths": [str(tmp_path / "one"), str(tmp_path / "two")]})
    assert [running.get(f"/{name}").status for name in ("one", "two")] == [200, 200]
    assert left_out(running) == {}


def test_two_servers_load_a_file_once_and_share_nothing_else(folder, extended, tmp_path):
    marker = tmp_path / "executions"
    count = f"with open({str(marker)!r}, 'a') as marker:\n    marker.write('x')\n"
    text = count + ROUTE.format(name="once", path="/once")
    write(folder, "common", "once_api.py", text)
    first, second = extended(), extended(worker_id=1)
    assert (first.get("/once").status, second.get("/once").status) == (200, 200)
    assert marker.read_text() == "x"
    first.put("/freeze/enable")
    assert second.get("/freeze/status").json()["freeze"] is False


def test_folder_of_an_entry_point_is_loaded(serve, tmp_path, monkeypatch):
    site = tmp_path / "site"
    package = site / "stranger_admin_ext"
    write(package / "blueprints", "common", "stranger_api.py", ROUTE.format(name="s", path="/stranger"))
    (package / "__init__.py").write_text(
        "from pathlib import Path\n\ndef folder():\n    return Path(__file__).parent / 'blueprints'\n"
    )
    info = site / "stranger_admin_ext-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-admin-ext\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[lmcache_admin.blueprints]\nstranger = stranger_admin_ext:folder\nbroken = no_such_module_xyz:folder\n"
    )
    monkeypatch.syspath_prepend(str(site))
    running = serve()
    assert running.get("/stranger").json() == {"from": "s"}
    listed = {f["origin"]: f["error"] for f in running.get("/blueprints").json()["files"]}
    assert listed["entry point stranger"] is None
    assert listed["entry point broken"].startswith("ModuleNotFoundError")


def test_broken_built_in_stops_the_start_with_its_name(monkeypatch, tmp_path):
    write(tmp_path / "shipped", "vllm", "freezing_api.py", "raise ImportError('half an installation')")
    # the shipped folder itself must not be broken for the tests that run beside this one
    monkeypatch.setattr("lmcache_admin.loader.shipped_folder", lambda name: tmp_path / "shipped")
    values = {"internal_api_server_enabled": True, "internal_api_server_socket_path_prefix": str(tmp_path / "api")}
    server = InternalAPIServer(Manager(Configuration.from_mapping(values, {}), role="scheduler"))
    assert server.enable is False
    assert "vllm/freezing_api.py" in server.error
    assert "half an installation" in server.error


@pytest.mark.parametrize(
    ("kind", "served", "absent"),
    [
        ("engine", ["/version", "/conf", "/controller/key-stats"], []),
        ("controller", ["/env", "/metrics", "/controller/workers"], ["/version", "/conf", "/freeze/status"]),
        ("gateway", ["/env", "/healthz", "/controller/workers"], ["/version", "/inference_info", "/meta"]),
    ],
)
def test_process_kind_decides_which_categories_are_served(kind, served, absent):
    client = create_app(None, Settings(), kind=kind).test_client()  # no server of ours has another kind yet
    assert client.get("/blueprints").json["kind"] == kind
    assert [path for path in served if client.get(path).status_code == 404] == []
    assert [path for path in absent if client.get(path).status_code != 404] == []


def test_file_may_name_the_kinds_that_serve_it(folder):
    text = ROUTE.format(name="only", path="/only").replace('"only")', '"only", kinds=("controller",))', 1)
    write(folder, "common", "only_api.py", text)
    settings = Settings(blueprint_paths=(str(folder),))
    engine, controller = (create_app(None, settings, kind=kind).test_client() for kind in ("engine", "controller"))
    assert (engine.get("/only").status_code, controller.get("/only").status_code) == (404, 200)


def test_nothing_of_an_operator_lands_among_our_modules(folder, extended):
    write(folder, "common", "greet_api.py", GREET)
    extended()
    names = [name for name in sys.modules if name.endswith("greet_api")]
    assert names
    assert all(name.startswith("lmcache_admin_ext.") for name in names)

"""What an operator's file may do wrong without taking anything else down, or reaching the host."""

import os
from pathlib import Path

import pytest

HEAD = "from lmcache_admin.blueprint import AdminBlueprint, Schema, fields\n"
ROUTE = 'get("/odd", operation="answer", role="viewer", lane="light"'


def with_schema(field: str) -> str:
    return f"""{HEAD}
class Odd(Schema):
    odd = {field}
blueprint = AdminBlueprint("odd")
@blueprint.{ROUTE})
@blueprint.arguments(Odd, location="query")
def odd(query):
    return {{}}
"""


def with_route(declared: str, blueprint: str = 'AdminBlueprint("odd")') -> str:
    return f"""{HEAD}
blueprint = {blueprint}
@blueprint.{declared}
def odd():
    return {{}}
"""


def hooking(hook: str) -> str:
    return f"""
from flask import Blueprint
blueprint = Blueprint("odd", __name__)
@blueprint.{hook}
def hook(*arguments):
    raise RuntimeError("in every request")
@blueprint.get("/odd")
def odd():
    return "odd"
"""


RECORDING = """
from flask import Blueprint
blueprint = Blueprint("odd", __name__)
@blueprint.get("/odd")
def odd():
    return "odd"
@blueprint.record
def refuse(state):
    raise RuntimeError("no state for me")
"""

FAULTS = {
    "raises CancelledError": ('import asyncio\nraise asyncio.CancelledError("stop")', "CancelledError: stop"),
    "raises GeneratorExit": ("raise GeneratorExit", "GeneratorExit"),
    "raises its own BaseException": ('class Odd(BaseException): pass\nraise Odd("x")', "Odd: x"),
    "nests an unknown schema": (with_schema('fields.Nested("NoSuchSchema")'), "NoSuchSchema"),
    "has a default that is no JSON": (with_schema("fields.Integer(load_default={1, 2})"), "set"),
    "describes a field in bytes": (with_schema('fields.Integer(metadata={"description": b"x"})'), "bytes"),
    "has no text for operation": (
        with_route('get("/odd", operation=None, role="viewer", lane="light")'),
        "operation=None is not a text",
    ),
    "names an unknown switch": (with_route(f'{ROUTE}, switch="nope")'), "switch='nope' is not one of"),
    "declares by route": (with_route('route("/odd", methods=["GET"])'), "declare it with get, post, put"),
    "names an unknown kind": (
        with_route(f"{ROUTE})", 'AdminBlueprint("odd", kinds=("enginee",))'),
        "kinds=('enginee',) is not a list of engine, controller, gateway",
    ),
    "names a kind as text": (with_route(f"{ROUTE})", 'AdminBlueprint("odd", kinds="engine")'), "kinds='engine'"),
    "reads from an unknown location": (
        f'{HEAD}blueprint = AdminBlueprint("odd")\nblueprint.arguments(Schema, location="body")',
        "location='body' is not one of",
    ),
    "hooks before every request": (hooking("before_app_request"), "before_request_funcs"),
    "hooks after every request": (hooking("after_app_request"), "after_request_funcs"),
    "hooks into every error": (hooking("app_errorhandler(404)"), "error_handler_spec"),
    "fails while it is registered": (RECORDING, "RuntimeError: no state for me"),
}


def serve_with(serve, tmp_path: Path, source: str):
    folder = tmp_path / "endpoints" / "common"
    folder.mkdir(parents=True)
    (folder / "odd_api.py").write_text(source)
    return serve(extra={"blueprint_paths": [str(folder.parent)]})


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that(serve, tmp_path, fault) -> None:
    """... is left out with its reason, its route is not there, and the rest is served and described."""
    source, reason = FAULTS[fault]
    server = serve_with(serve, tmp_path, source)
    files = {Path(file["file"]).name: file for file in server.get("/blueprints").json()["files"]}
    assert files["odd_api.py"]["status"] == "left out"
    assert reason in files["odd_api.py"]["error"]
    assert server.get("/odd").status == 404
    assert server.get("/healthz").status == 200
    assert server.get("/freeze/status").status == 200
    assert "/freeze/status" in server.get("/openapi.json").json()["paths"]


def test_hooks_of_its_own_routes_are_fine(serve, tmp_path) -> None:
    source = hooking("before_request").replace('raise RuntimeError("in every request")', 'return "hooked"')
    server = serve_with(serve, tmp_path, source)
    assert server.get("/odd").text == "hooked"
    assert server.get("/version").text != "hooked"


def test_a_file_for_other_processes_is_listed_as_such(serve, tmp_path) -> None:
    server = serve_with(serve, tmp_path, with_route(f"{ROUTE})", 'AdminBlueprint("odd", kinds=("gateway",))'))
    files = {Path(file["file"]).name: file for file in server.get("/blueprints").json()["files"]}
    assert files["odd_api.py"]["status"] == "not served here"
    assert files["odd_api.py"]["note"] == "for other processes: gateway"
    assert server.get("/odd").status == 404


def test_a_set_up_that_works_once_works(serve, tmp_path) -> None:
    once = RECORDING.replace('raise RuntimeError("no state for me")', "assert not seen\n    seen.append(state)")
    server = serve_with(serve, tmp_path, once.replace("from flask", "seen = []\nfrom flask"))
    assert server.get("/odd").text == "odd"


def test_an_entry_point_that_raises_anything_is_left_out(serve, tmp_path, monkeypatch) -> None:
    (tmp_path / "odd_package.py").write_text("raise GeneratorExit")
    info = tmp_path / "odd-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lmcache_admin.blueprints]\nodd = odd_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))  # as an installed package is found
    server = serve()
    left_out = [file for file in server.get("/blueprints").json()["files"] if file["error"]]
    assert [(file["origin"], file["error"]) for file in left_out] == [("entry point odd", "GeneratorExit: ")]
    assert server.get("/healthz").status == 200


def test_a_forked_child_does_not_show_its_parents_series(service) -> None:
    from prometheus_client import REGISTRY, generate_latest

    name = service.server.server_log_info
    assert f'server="{name}"' in service.get("/metrics").text
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"shown" if f'server="{name}"'.encode() in generate_latest(REGISTRY) else b"not shown")
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with open(read, "rb") as pipe:
        assert pipe.read() == b"not shown"


ENDING = """
from flask import Blueprint
blueprint = Blueprint("odd", __name__)
@blueprint.{hook}
def end():
    raise SystemExit(3)
@blueprint.post("/odd")
def odd():
    return "odd"
"""


@pytest.mark.parametrize("hook", ['put("/end")', "before_request"])
def test_s52_a_plain_view_or_hook_that_ends_the_process_fails_its_request_and_is_audited(serve, tmp_path, hook) -> None:
    server = serve_with(serve, tmp_path, ENDING.format(hook=hook))
    method, path = ("PUT", "/end") if hook.startswith("put") else ("POST", "/odd")
    answer = server.request(method, path)
    assert (answer.status, answer.json()["message"]) == (500, "it ended with SystemExit")
    entry = server.get("/audit").json()["entries"][0]
    assert (entry["route"], entry["outcome"], entry["status"]) == (path, "failed", 500)
    assert server.get("/healthz").status == 200

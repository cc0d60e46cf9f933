"""GET /blueprints: what is served, and what was left out."""

import lmcache_admin
from lmcache_admin.shipped import shipped_folder


def test_version_and_process_kind_are_told(service):
    answer = service.get("/blueprints")
    assert (answer.status, answer.type) == (200, "application/json")
    assert answer.json()["version"] == lmcache_admin.__version__
    assert answer.json()["kind"] == "engine"


def test_every_endpoint_file_is_listed_with_its_routes(service):
    files = {(f["category"], f["file"]): f for f in service.get("/blueprints").json()["files"]}
    shipped = shipped_folder("blueprints").glob("*/*_api.py")
    assert {(path.parent.name, path.name) for path in shipped} == set(files)
    freeze = files["vllm", "freeze_api.py"]
    assert freeze["routes"] == ["GET /freeze/status", "PUT /freeze/disable", "PUT /freeze/enable"]
    assert (freeze["status"], freeze["error"], freeze["origin"]) == ("loaded", None, "built-in")


def test_categories_and_files_are_in_a_fixed_order(service):
    listed = [(f["category"], f["file"]) for f in service.get("/blueprints").json()["files"]]
    order = ["common", "vllm", "controller"]
    assert listed == sorted(listed, key=lambda item: (order.index(item[0]), item[1]))


def test_each_route_is_listed_with_what_it_declares(service):
    routes = {(route["method"], route["path"]): route for route in service.get("/blueprints").json()["routes"]}
    assert routes["PUT", "/freeze/enable"] == {
        "method": "PUT",
        "path": "/freeze/enable",
        "operation": "enable freeze mode",
        "role": "operator",
        "lane": "change",
    }
    assert routes["GET", "/conf"]["role"] == "viewer"
    assert ("HEAD", "/conf") not in routes


def test_folder_that_is_not_there_is_listed_and_takes_nothing_down(serve, tmp_path):
    running = serve(extra={"blueprint_paths": [str(tmp_path / "absent")]})
    broken = [f for f in running.get("/blueprints").json()["files"] if f["error"]]
    assert [(f["file"], f["status"], f["error"]) for f in broken] == [
        (str(tmp_path / "absent"), "left out", "there is no such folder")
    ]
    assert running.get("/version").status == 200

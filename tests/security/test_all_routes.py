"""Every route of every kind of process, with every kind of caller, against the table of docs/security.md (S14, S15)."""

import re
from pathlib import Path

import pytest

from lmcache_admin.app import create_app
from lmcache_admin.declaration import ROLES
from lmcache_admin.security.tokens import new_token
from lmcache_admin.serving.server import HTTPServer, ServerOptions
from lmcache_admin.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text("utf-8")
ROW = re.compile(r"^\| `([A-Z]+) (/\S*)` \| (\w+)[^|]* \| ([^|]+) \|$", re.MULTILINE)
TABLE = {(method, path): (role, bare.strip()) for method, path, role, bare in ROW.findall(PAGE)}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    made = {role: new_token(role, role) for role in ROLES}
    path.write_text("".join(f"{token.line}\n" for _, token in made.values()))
    path.chmod(0o600)
    return path, {"no token": None, "wrong token": "lmca_wrong", **{role: secret for role, (secret, _) in made.items()}}


@pytest.fixture
def controller(tokens, client):
    """A process of kind controller."""
    extra = {"internal_api_server_auth": "token", "internal_api_server_token_file": str(tokens[0])}
    app = create_app(None, Settings.from_mapping({"extra_config": extra}, {}), kind="controller")
    server = HTTPServer(app, app.extensions["lmcache_admin"].routes.classify, ServerOptions())
    server.start()
    yield client(server.port)
    server.stop()


@pytest.fixture(params=["worker", "scheduler", "controller"])
def process(request, tokens):
    if request.param == "controller":
        return request.getfixturevalue("controller")
    extra = {"auth": "token", "token_file": str(tokens[0])}
    return request.getfixturevalue("serve")(role=request.param, extra=extra)


def expected(role, bare, caller):
    if bare == "open":
        return "served"
    if caller not in ROLES:
        return 401
    return "served" if ROLES.index(caller) >= ROLES.index(role) else 403


@pytest.mark.parametrize("caller", ["no token", "wrong token", *ROLES])
def test_s14_s15_every_route_asks_for_the_role_of_the_table(process, tokens, caller):
    secret = tokens[1][caller]
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    admin = {"Authorization": f"Bearer {tokens[1]['admin']}"}
    listed = process.request("GET", "/blueprints", headers=admin).json()["routes"]
    routes = [(route["method"], route["path"]) for route in listed]
    assert len(routes) > 20
    for method, path in routes:
        role, bare = TABLE[method, path]
        answer = process.request(method, re.sub("<[^>]+>", "x", path), headers=headers)
        wanted = expected(role, bare, caller)
        if wanted == "served":
            anew = (method, path) == ("POST", "/session")  # it may say 401 for its own reasons
            assert answer.status not in (401, 403) or anew, (method, path)
        elif (method, path) == ("POST", "/run_script"):  # off: 404 before any role is looked at
            assert answer.status == 404
        else:
            assert answer.status == wanted, (method, path)


def test_s14_table_lists_every_route_and_no_other(serve):
    listed = serve().get("/blueprints").json()["routes"]
    assert {(route["method"], route["path"]) for route in listed} == set(TABLE)

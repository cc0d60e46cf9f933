"""Pages of listed origins: they read, and change with a token of their own; everybody else learns nothing (S36)."""

import pytest

from lmcache_admin.security import private_files
from lmcache_admin.security.tokens import new_token

LISTED, EVIL = "https://ops.example", "https://evil.example"
PAGE = {"Origin": LISTED, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
QUESTION = {**PAGE, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}


@pytest.fixture
def token_file(tmp_path):
    secret, token = new_token("ops", "operator")
    private_files.write_private(str(tmp_path / "tokens"), f"{token.line}\n".encode())
    return tmp_path / "tokens", {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def guarded(serve, token_file):
    extra = {"auth": "token", "token_file": str(token_file[0]), "allowed_origins": [LISTED]}
    return serve(tcp=True, extra=extra)


def allowed(answer):
    return {name.lower(): value for name, value in answer.headers.items() if name.lower().startswith("access-control-")}


def test_s36_listed_page_reads_with_its_token(guarded, token_file):
    answer = guarded.request("GET", "/version", headers={**PAGE, **token_file[1]})
    assert answer.status == 200
    assert allowed(answer)["access-control-allow-origin"] == LISTED
    assert "Origin" in answer.headers["Vary"]


def test_s36_listed_page_asks_first_and_is_told_what_it_may_send(guarded):
    answer = guarded.request("OPTIONS", "/freeze/enable", headers=QUESTION)
    assert (answer.status, answer.body) == (204, b"")
    told = allowed(answer)
    assert told["access-control-allow-origin"] == LISTED
    assert "PUT" in told["access-control-allow-methods"]
    assert "Authorization" in told["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in told


def test_s36_listed_page_changes_with_a_token_and_not_without(guarded, token_file):
    assert guarded.request("PUT", "/freeze/enable", headers=PAGE).status == 403
    assert guarded.request("PUT", "/freeze/enable", headers={**PAGE, "Authorization": "Bearer wrong"}).status == 401
    assert guarded.request("PUT", "/freeze/enable", headers={**PAGE, **token_file[1]}).status == 200


@pytest.mark.parametrize("mode", ["local", "off"])
def test_s36_listed_page_changes_nothing_where_no_token_is_asked_for(serve, token_file, mode):
    running = serve(tcp=True, extra={"auth": mode, "allowed_origins": [LISTED]})
    assert running.request("GET", "/version", headers=PAGE).status == 200
    assert running.request("PUT", "/freeze/enable", headers={**PAGE, **token_file[1]}).status == 403
    assert running.get("/freeze/status").json()["freeze"] is False


@pytest.mark.parametrize("origin", [EVIL, "null", "https://ops.example.evil.example", "http://ops.example", "https://ops.example:444"])
def test_s36_no_other_origin_is_told_anything(guarded, token_file, origin):
    for method, path in (("GET", "/version"), ("OPTIONS", "/freeze/enable"), ("GET", "/healthz"), ("GET", "/nowhere")):
        answer = guarded.request(method, path, headers={**QUESTION, **token_file[1], "Origin": origin})
        assert allowed(answer) == {}
        assert answer.status == 403


def test_s36_question_under_a_foreign_name_is_refused(guarded):
    answer = guarded.request("OPTIONS", "/freeze/enable", headers={**QUESTION, "Host": "evil.example"})
    assert answer.status == 403


def test_s36_nobody_is_allowed_by_a_star_or_with_credentials(guarded, token_file):
    for method in ("GET", "PUT", "OPTIONS", "DELETE"):
        for path in ("/version", "/freeze/enable", "/nowhere", "/healthz", "/audit"):
            told = allowed(guarded.request(method, path, headers={**QUESTION, **token_file[1]}))
            assert "*" not in told.values()
            assert "access-control-allow-credentials" not in told


def test_s36_native_clients_see_no_such_header(guarded, token_file):
    assert allowed(guarded.request("GET", "/version", headers=token_file[1])) == {}

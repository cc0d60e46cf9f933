"""GET /openapi.json: exactly the routes that are served."""

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from lmcache_admin.security.tokens import new_token


@pytest.fixture
def document(service):
    answer = service.get("/openapi.json")
    assert (answer.status, answer.type) == (200, "application/json")
    return answer.json()


def operations(document):
    items = document["paths"].items()
    return {(method.upper(), path) for path, item in items for method in item if method != "parameters"}


def test_it_describes_the_routes_that_are_served_and_no_other(service, document):
    served = {
        (route["method"], route["path"].replace("<", "{").replace(">", "}"))
        for route in service.get("/blueprints").json()["routes"]
    }
    assert operations(document) == served


def test_it_is_openapi_3_1_of_this_service(document):
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"] == "lmcache-admin"


def test_each_operation_says_its_role_lane_and_summary(document):
    operation = document["paths"]["/freeze/enable"]["put"]
    assert (operation["x-role"], operation["x-lane"], operation["x-operation"]) == (
        "operator",
        "change",
        "enable freeze mode",
    )
    for path, method in [(path, method) for method, path in operations(document)]:
        described = document["paths"][path][method.lower()]
        assert described["x-role"] in ("viewer", "operator", "admin"), path
        assert described["x-lane"] in ("light", "read", "change", "job"), path
        assert described.get("summary") or described.get("description"), path


def test_parameters_have_their_place_and_type(document):
    parameters = {p["name"]: p for p in document["paths"]["/threads"]["get"]["parameters"]}
    assert parameters["thread_id"]["in"] == "query"
    assert parameters["thread_id"]["schema"]["type"] == "integer"
    assert parameters["name"]["schema"]["type"] == "string"


def test_path_parameter_is_described(document):
    item = document["paths"]["/periodic-threads/{thread_name}"]
    (parameter,) = [p for p in item.get("parameters", []) + item["get"].get("parameters", []) if p["in"] == "path"]
    assert (parameter["name"], parameter["required"]) == ("thread_name", True)


def test_upload_is_described_as_a_form(document):
    assert "multipart/form-data" in document["paths"]["/run_script"]["post"]["requestBody"]["content"]


def test_second_answer_is_the_same(service, document):
    assert service.get("/openapi.json").json() == document


def test_document_is_valid_openapi(service):
    validate(service.get("/openapi.json").json(), cls=OpenAPIV31SpecValidator)


@pytest.mark.parametrize(
    ("path", "method", "kind"), [("/conf", "post", "object"), ("/cache/clear", "delete", ["object", "null"])]
)
def test_bodies_are_described_as_bodies(service, path, method, kind):
    operation = service.get("/openapi.json").json()["paths"][path][method]
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {"type": kind}
    assert {parameter["in"] for parameter in operation.get("parameters", [])} <= {"query"}


def test_errors_are_described_as_they_are(service):
    document = service.get("/openapi.json").json()
    described = document["components"]["schemas"]["Error"]["properties"]
    assert set(described) == {"error", "message", "errors", "detail"}
    assert set(service.get("/threads?thread_id=x").json()) <= set(described)


def test_each_answer_says_its_status_content_type_and_form(document):
    for item in document["paths"].values():
        for method, operation in item.items():
            if method != "parameters":
                assert "default" not in operation["responses"]
                assert all(answer["content"] for answer in operation["responses"].values())


def test_job_that_has_begun_is_described_with_its_address(document):
    begun = document["paths"]["/cache/clear"]["delete"]["responses"]["202"]
    assert set(begun["headers"]) == {"Location", "Preference-Applied"}
    assert "202" not in document["paths"]["/cache/store"]["post"]["responses"]


def test_token_is_described_where_the_mode_asks_for_one(serve, tmp_path, document):
    assert "security" not in document
    secret, token = new_token("reader", "viewer")
    file = tmp_path / "tokens"
    file.write_text(token.line)
    file.chmod(0o600)
    running = serve(worker_id=1, extra={"auth": "token", "token_file": str(file)})
    asked = running.get("/openapi.json", Authorization=f"Bearer {secret}").json()
    assert asked["security"] == [{"token": []}]
    assert asked["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    assert asked["paths"]["/healthz"]["get"]["security"] == []
    assert "security" not in asked["paths"]["/version"]["get"]

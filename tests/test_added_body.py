"""An added endpoint that takes a body: JSON is read strictly and its schema is held to."""

import pytest

NOTE = '''
from lmcache_admin.blueprint import AdminBlueprint, Schema, fields, validate

blueprint = AdminBlueprint("note")


class Note(Schema):
    text = fields.String(required=True, validate=validate.Length(max=5))
    copies = fields.Integer(load_default=1)


@blueprint.post("/note", operation="take a note", role="operator", lane="change")
@blueprint.arguments(Note, location="json")
def take(note):
    """Take a note."""
    return {"noted": [note["text"]] * note["copies"]}
'''


@pytest.fixture
def notes(serve, tmp_path):
    """A server with that endpoint."""
    folder = tmp_path / "ours" / "common"
    folder.mkdir(parents=True)
    (folder / "note_api.py").write_text(NOTE)
    return serve(extra={"blueprint_paths": [str(folder.parent)]})


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ('{"text": "abcdef"}', {"text": ["Longer than maximum length 5."]}),
        ('{"copies": 1}', {"text": ["Missing data for required field."]}),
        ('{"text": "a", "copies": 1.5}', {"copies": ["1.5 is not an integer."]}),
        ('{"text": "a", "other": 1}', {"other": ["Unknown field."]}),
        ('{"text": "a", "text": "b"}', ["Not a JSON document: the key 'text' is given twice."]),
        ('{"text": NaN}', ["Not a JSON document: NaN is not JSON."]),
        ("[]", {"_schema": ["Invalid input type."]}),
        ("", {"text": ["Missing data for required field."]}),
    ],
)
def test_its_body_is_validated(notes, body, faults):
    answer = notes.post("/note", body)
    assert (answer.status, answer.json()["errors"]) == (422, {"json": faults})


def test_its_good_body_reaches_the_view(notes):
    assert notes.post("/note", '{"text": "a", "copies": "2"}').json() == {"noted": ["a", "a"]}


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_body_of_another_type_is_refused_and_the_wanted_one_named(notes, content_type):
    answer = notes.post("/note", '{"text": "a"}', content_type)
    reason = f"A body of '{content_type}' is not read; send application/json."
    assert (answer.status, answer.json()["errors"]) == (422, {"json": [reason]})


def test_two_files_may_have_a_schema_of_the_same_name(serve, tmp_path):
    folder = tmp_path / "ours" / "common"
    folder.mkdir(parents=True)
    for name in ("first", "second"):
        (folder / f"{name}_api.py").write_text(NOTE.replace('"note"', f'"{name}"').replace('"/note"', f'"/{name}"'))
    answer = serve(extra={"blueprint_paths": [str(folder.parent)]}).get("/openapi.json")
    assert answer.status == 200
    names = {
        answer.json()["paths"][f"/{name}"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        for name in ("first", "second")
    }
    assert len(names) == 2


def test_it_is_described(notes):
    body = notes.get("/openapi.json").json()["paths"]["/note"]["post"]["requestBody"]
    assert "application/json" in body["content"]

"""Who is asking, and the sessions of browsers."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, fields, validate
from lmcache_admin.host.current import current_session

blueprint = AdminBlueprint("session")

# Not redacted: the CSRF token is for the browser that asks, and nothing else in here is a secret.


class Credentials(Schema):
    name = fields.String(required=True, validate=validate.Length(1, 64))
    password = fields.String(required=True, validate=validate.Length(1, 1024))


@blueprint.get("/session", operation="tell who is asking", role="viewer", lane="light", redacted=False)
def get_session() -> dict[str, Any]:
    """Return actor, role and mode; a browser also gets the CSRF token that its changes must bring."""
    return current_session().show()


@blueprint.post(
    "/session", operation="log in", role="viewer", lane="change", public="always", redacted=False, answers=(429,)
)
@blueprint.arguments(Credentials, location="json")
def log_in(body: dict[str, str]) -> dict[str, Any]:
    """Begin a session; wrong too often is 429 with `Retry-After`."""
    return current_session().begin(body["name"], body["password"])


@blueprint.delete("/session", operation="log out", role="viewer", lane="change", public="always", redacted=False)
def log_out() -> dict[str, Any]:
    """End all sessions of this user."""
    return current_session().end()

"""GET /version, /lmc_version and /commit_id."""

import pytest

import lmcache_admin


class Runtime:
    """A process whose versions are these."""

    def __init__(self, *versions):
        self._versions = versions

    def versions(self):
        return self._versions


@pytest.mark.parametrize(
    ("path", "text"),
    [("/lmc_version", '"0.5.6"'), ("/commit_id", '"g3e11e108"'), ("/version", '"0.5.6-g3e11e108"')],
)
def test_versions_are_json_texts(service, path, text):
    service.server.service.runtime = Runtime("0.5.6", "g3e11e108")
    answer = service.get(path)
    assert (answer.status, answer.type, answer.text) == (200, "application/json", text)


def test_without_lmcache_the_version_is_ours(service):
    assert service.get("/lmc_version").json() == lmcache_admin.__version__
    assert service.get("/version").json().startswith(f"{lmcache_admin.__version__}-")
    assert isinstance(service.get("/commit_id").json(), str)


def test_scheduler_answers_as_a_worker_does(service, serve):
    assert serve(role="scheduler").get("/version").body == service.get("/version").body

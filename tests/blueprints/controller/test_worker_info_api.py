"""GET /controller/workers: one worker, those of an instance, or all."""

import pytest


class Worker:
    """A registered worker."""

    def __init__(self, worker_id, keys=0):
        self.worker_id = worker_id
        self.ip = "10.0.0.7"
        self.port = 9100 + worker_id
        self.peer_init_url = None if worker_id else "10.0.0.7:9200"
        self.registration_time = 1700000000.5
        self.last_heartbeat_time = 1700000030.25
        self.keys = keys

    def get_kv_count(self):
        return self.keys


class Node:
    """An instance."""

    def __init__(self, *workers):
        self.workers = {worker.worker_id: worker for worker in workers}


class Registry:
    """A controller's registry."""

    def __init__(self):
        self.instances = {"i1": Node(Worker(0, 3), Worker(1, 4)), "i2": Node(Worker(0)), "empty": Node()}

    def get_instance(self, name):
        return self.instances.get(name)

    def get_worker(self, name, worker_id):
        node = self.instances.get(name)
        return node and node.workers.get(worker_id)


class Controller:
    """A controller manager as far as the endpoints look into it."""

    def __init__(self):
        self.reg_controller = self
        self.registry = Registry()


I1_0 = {
    "instance_id": "i1",
    "worker_id": 0,
    "ip": "10.0.0.7",
    "port": 9100,
    "peer_init_url": "10.0.0.7:9200",
    "registration_time": 1700000000.5,
    "last_heartbeat_time": 1700000030.25,
    "key_count": 3,
}
I1_1 = {**I1_0, "worker_id": 1, "port": 9101, "peer_init_url": None, "key_count": 4}
I2_0 = {**I1_0, "instance_id": "i2", "key_count": 0}


@pytest.fixture
def fleet(service):
    """A server with an attached controller."""
    service.server.attach_controller(Controller())
    return service


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"workers": [I1_0, I1_1, I2_0], "total_count": 3}),
        ("worker_id=99", {"workers": [I1_0, I1_1, I2_0], "total_count": 3}),
        ("instance_id=i1", {"workers": [I1_0, I1_1], "total_count": 2}),
        ("instance_id=empty", {"workers": [], "total_count": 0}),
        ("instance_id=i1&worker_id=1", I1_1),
        ("instance_id=i1&worker_id=%2B1", I1_1),
        ("instance_id=i1&worker_id=1.0", I1_1),
        ("instance_id=zz&instance_id=i2", {"workers": [I2_0], "total_count": 1}),
        ("instance_id=i1&worker_id=7&worker_id=0", I1_0),
    ],
)
def test_workers_are_found(fleet, query, expected):
    answer = fleet.get(f"/controller/workers?{query}")
    assert (answer.status, answer.type, answer.json()) == (200, "application/json", expected)


def test_keys_of_a_row_are_in_the_order_of_the_contract(fleet):
    assert list(fleet.get("/controller/workers?instance_id=i1&worker_id=0").json()) == list(I1_0)


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("instance_id=i1&worker_id=9", "Worker (i1, 9) not found"),
        ("instance_id=zz&worker_id=0", "Worker (zz, 0) not found"),
        ("instance_id=i1&worker_id=-1", "Worker (i1, -1) not found"),
        ("instance_id=zz", "No workers found for instance zz"),
        ("instance_id=", "No workers found for instance "),
    ],
)
def test_who_is_not_registered_is_404(fleet, query, detail):
    answer = fleet.get(f"/controller/workers?{query}")
    assert (answer.status, answer.json()) == (404, {"detail": detail})


def test_list_is_fresh_at_each_request(fleet):
    registry = fleet.server.service.controller.registry
    assert fleet.get("/controller/workers").json()["total_count"] == 3
    del registry.instances["i1"].workers[1]
    registry.instances["i2"].workers[0].last_heartbeat_time = 1700000060.0
    body = fleet.get("/controller/workers").json()
    assert body["total_count"] == 2
    assert body["workers"][-1]["last_heartbeat_time"] == 1700000060.0


@pytest.mark.parametrize("given", ["x", "", "1.5", "1e1", "0x2"])
def test_worker_id_that_is_no_integer_is_422_even_without_a_controller(service, given):
    answer = service.get(f"/controller/workers?worker_id={given}")
    assert (answer.status, list(answer.json()["errors"]["query"])) == (422, ["worker_id"])


def test_without_a_controller_it_is_503(service):
    answer = service.get("/controller/workers")
    assert (answer.status, answer.json()) == (503, {"detail": "Controller manager not available"})

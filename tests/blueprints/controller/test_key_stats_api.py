"""GET /controller/key-stats."""


class Worker:
    """A worker with this many keys."""

    def __init__(self, keys):
        self.keys = keys

    def get_kv_count(self):
        return self.keys


class Node:
    """An instance with workers of these numbers of keys."""

    def __init__(self, *keys):
        self.workers = {number: Worker(count) for number, count in enumerate(keys)}


class Registry:
    """A controller's registry: instance id -> node."""

    def __init__(self, **instances):
        self.instances = instances

    def get_total_kv_count(self):
        return sum(worker.keys for node in self.instances.values() for worker in node.workers.values())


class Controller:
    """A controller manager as far as the endpoints look into it."""

    def __init__(self, registry):
        self.reg_controller = self
        self.registry = registry


def test_without_a_controller_it_is_503(service):
    answer = service.get("/controller/key-stats")
    assert (answer.status, answer.type) == (503, "application/json")
    assert answer.text == '{"detail":"Controller manager not available"}'


def test_empty_registry_counts_nothing(service):
    service.server.attach_controller(Controller(Registry()))
    answer = service.get("/controller/key-stats")
    assert answer.status == 200
    assert answer.text == ('{"total_key_count":0,"total_instance_count":0,"total_worker_count":0,"instances":[]}')


def test_instances_are_counted_in_the_order_of_registration(service):
    service.server.attach_controller(Controller(Registry(zebra=Node(3, 4), ant=Node(), bee=Node(5))))
    assert service.get("/controller/key-stats").json() == {
        "total_key_count": 12,
        "total_instance_count": 3,
        "total_worker_count": 3,
        "instances": [
            {"instance_id": "zebra", "key_count": 7, "worker_count": 2},
            {"instance_id": "ant", "key_count": 0, "worker_count": 0},
            {"instance_id": "bee", "key_count": 5, "worker_count": 1},
        ],
    }


def test_failing_registry_is_500_with_detail(service):
    class Broken(Registry):
        def get_total_kv_count(self):
            raise RuntimeError("the tree is gone")

    service.server.attach_controller(Controller(Broken()))
    answer = service.get("/controller/key-stats")
    assert (answer.status, answer.json()) == (500, {"detail": "the tree is gone"})


def test_attached_controller_is_seen_by_its_own_server_alone(serve):
    first, second = serve(), serve(worker_id=1)
    first.server.attach_controller(Controller(Registry()))
    assert first.get("/controller/key-stats").status == 200
    assert second.get("/controller/key-stats").status == 503

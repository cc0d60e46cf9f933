"""Index -> port or socket file."""

from __future__ import annotations

import pytest

from lmcache_admin.serving.address import Address, AddressError, address, port_offset


@pytest.mark.parametrize(
    ("has_engine", "role", "worker_id", "offset"),
    [
        (False, None, None, 0),
        (False, "worker", 3, 0),
        (True, "scheduler", 0, 0),
        (True, "worker", 0, 1),
        (True, "worker", 7, 8),
        (True, None, None, 1),
    ],
)
def test_scheduler_has_offset_0_and_workers_follow(has_engine, role, worker_id, offset):
    assert port_offset(has_engine=has_engine, role=role, worker_id=worker_id) == offset


def test_port_is_the_start_plus_the_offset():
    assert address(6999, 2, None, None) == Address(2, 7001, None, included=True)


def test_socket_is_named_by_prefix_and_port():
    assert address(6999, 1, "/run/lmcache", None).socket_path == "/run/lmcache_7000"


@pytest.mark.parametrize(("include", "included"), [(None, True), ([], True), ([0, 2], True), ([0, 1], False)])
def test_empty_include_list_means_everybody(include, included):
    assert address(6999, 2, None, include).included is included


def test_port_above_65535_names_key_value_and_limit():
    with pytest.raises(AddressError) as raised:
        address(65535, 1, None, None)
    assert (raised.value.key, raised.value.value) == ("internal_api_server_port_start", 65535)
    assert str(raised.value) == (
        "internal_api_server_port_start: 65535 is not allowed; "
        "allowed: an integer from 1 to 65534 (this process listens on it plus 1)"
    )


@pytest.mark.parametrize("worker_id", ["1", -5, 1.0, True, [1], "two\nlines"])
def test_worker_id_that_is_no_number_from_0_is_refused_in_one_line(worker_id):
    with pytest.raises(AddressError) as raised:
        port_offset(has_engine=True, role="worker", worker_id=worker_id)
    assert raised.value.key == "metadata.worker_id"
    assert str(raised.value).isprintable()
    assert str(raised.value) == (f"metadata.worker_id: {worker_id!r} is not allowed; allowed: a whole number from 0")


def test_worker_id_of_a_scheduler_is_not_looked_at():
    assert port_offset(has_engine=True, role="scheduler", worker_id="any") == 0


def test_socket_path_above_107_bytes_names_key_value_and_limit():
    prefix = "/" + "x" * 102  # 103 bytes, and "_6999" makes it 108
    with pytest.raises(AddressError) as raised:
        address(6999, 0, prefix, None)
    assert raised.value.key == "internal_api_server_socket_path_prefix"
    assert "at most 107 bytes" in str(raised.value)

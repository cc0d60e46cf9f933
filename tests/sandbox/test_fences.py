"""Each fence by itself: what holds where the kernel, or whoever confines the service, leaves one out (S51)."""

import os

import pytest

from lmcache_admin.operations.script_fences import KEPT_FROM, holds, lacking

PARENT = os.getpid()
#: What a script must not reach -> an attempt, in words of the page on scripts.
ATTEMPTS = {
    "files of this machine": ("open('/etc/passwd').read()", f"open('/proc/{PARENT}/environ').read()"),
    "the network": ("load('socket').create_connection(('127.0.0.1', PORT), 5)",),
    "other processes": (f"os['kill']({PARENT}, 0)",),
}
#: Without these; the filter that keeps a script from all files is put up only where Landlock is not there.
WITHOUT = [(), ("namespaces",), ("landlock",), ("seccomp",), ("namespaces", "landlock"), ("namespaces", "seccomp")]


def test_s51_every_fence_that_needs_no_privileges_is_put_up_here(script):
    fences = script("").fences
    assert {name for name in fences if not holds(fences, name)} <= {"namespaces", "landlock"}
    assert lacking(fences) == ""


@pytest.mark.parametrize("without", WITHOUT, ids=", ".join)
@pytest.mark.parametrize("what", ATTEMPTS)
def test_s51_a_fence_that_is_left_out_is_told_and_another_one_holds(script, attempt, refused, serve, what, without):
    fences = script("", without=without).fences
    assert {name for name in without if fences[name] == "left out"} == set(without)
    if not any(holds(fences, name) for name in KEPT_FROM[what]):
        assert what in lacking(fences)
        return
    port = str(serve(tcp=True).server.port)
    for tried in ATTEMPTS[what]:
        text = attempt(tried.replace("PORT", port), without=without)
        assert refused(text), text


def test_s51_where_nothing_keeps_a_script_from_files_that_is_said(script, attempt, planted):
    without = ("landlock", "files")
    assert "files of this machine" in lacking(script("", without=without).fences)
    assert attempt(f"open('{planted}').read()", without=without) == "hunter2-Zq7v"


def test_s51_without_landlock_modules_are_loaded_before_files_are_closed(script, attempt, refused):
    without = ("landlock",)
    assert script("import json\nresult = json.dumps(snapshot)", allowed=["json"], without=without).kind == "result"
    assert refused(attempt("load('xmlrpc')", without=without))


def test_s51_what_is_lacking_is_told_with_the_reasons():
    assert lacking({"seccomp": True, "landlock": 4, "namespaces": "Operation not permitted"}) == ""
    said = lacking({"seccomp": "no filter for the machine riscv64", "landlock": 4, "namespaces": True})
    assert said == "they are not kept from other processes (seccomp: no filter for the machine riscv64)"
    assert lacking({}).count("not tried") == 5

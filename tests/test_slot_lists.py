"""The slots that a request names: syntax, ranges, limits."""

import tracemalloc

import pytest

from lmcache_admin.errors import Invalid
from lmcache_admin.slot_lists import SlotList


@pytest.mark.parametrize(
    ("text", "slots", "shown"),
    [
        ("7", [7], [7]),
        ("0,1,2,3", [0, 1, 2, 3], [[0, 3]]),
        ("0,1", [0, 1], [0, 1]),
        ("0,1,2", [0, 1, 2], [[0, 2]]),
        ("5,3,1,2,4", [5, 3, 1, 2, 4], [5, 3, 1, 2, 4]),
        ("1,1,1", [1, 1, 1], [1, 1, 1]),
        ("3,2,1,0", [3, 2, 1, 0], [3, 2, 1, 0]),
        ("[2,4],5", [2, 3, 4, 5], [[2, 5]]),
        ("[0,1][2,2]3", [0, 1, 2, 3], [[0, 3]]),
        ("[0,3]7", [0, 1, 2, 3, 7], [[0, 3], 7]),
        ("[4,5],[4,6]", [4, 5, 4, 5, 6], [4, 5, [4, 6]]),
        ("1 2,3", [12, 3], [12, 3]),
        ("[ 1 ,\t3 ]", [1, 2, 3], [[1, 3]]),
        ("1_0,+2,-1", [10, 2, -1], [10, 2, -1]),
        ("-2,-1,0", [-2, -1, 0], [[-2, 0]]),
        ("٣,[٣,٤]", [3, 3, 4], [3, 3, 4]),
        (",,", [], []),
        (" ", [], []),
        (",5,", [5], [5]),
    ],
)
def test_slots_are_kept_as_they_were_put(text, slots, shown):
    parsed = SlotList.parse(text)
    assert list(parsed) == slots
    assert len(parsed) == len(slots)
    assert parsed.numbers().tolist() == slots
    assert parsed.ranges() == shown


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a", "Invalid slot format: 'a'"),
        ("1.5", "Invalid slot format: '1.5'"),
        ("0-3", "Invalid slot format: '0-3'"),
        ("[1,2,3]", "Invalid slot format: '[1,2,3]'"),
        ("[-1,2]", "Invalid slot format: '[-1,2]'"),
        ("[1_0,20]", "Invalid slot format: '[1_0,20]'"),
        ("[]", "Invalid slot format: '[]'"),
        ("7[0,3]", "Invalid slot format: '7[0,3]'"),
        ("[3,1]", "Range start 3 must be <= end 1"),
        ("1,[2,3", "Unclosed bracket"),
        ("1,2]", "Unmatched closing bracket"),
        ("[[1,2]]", "Nested brackets not allowed"),
        ("a,]", "Unmatched closing bracket"),
        ("9" * 5000, f"Invalid slot format: '{'9' * 5000}'"),
    ],
)
def test_what_is_no_slot_list_is_refused_with_the_reason(text, why):
    with pytest.raises(Invalid) as refused:
        SlotList.parse(text)
    assert refused.value.body == {
        "error": "Invalid slot_mapping format",
        "message": f"slot_mapping must be comma-separated integers or ranges like [start,end]: {why}",
    }


def test_empty_list_is_a_missing_parameter():
    with pytest.raises(Invalid) as refused:
        SlotList.parse("")
    assert refused.value.body == {"error": "Missing parameters", "message": "slot_mapping parameter is required"}


def test_a_hundred_thousand_slots_are_the_limit():
    assert len(SlotList.parse("[1,100000]")) == 100_000
    for text in ("[0,100000]", "[0,50000],[0,49999]", "0,[1,100000]"):
        with pytest.raises(Invalid, match="100001 slots asked, at most 100000 allowed"):
            SlotList.parse(text)


@pytest.mark.parametrize("text", ["[0,999999999999]", "[0," + "9" * 4000 + "]", "[0,99999999999]," * 1000])
def test_s48_enormous_range_is_refused_before_memory_is_used(text):
    tracemalloc.start()
    try:
        with pytest.raises(Invalid, match="at most 100000 allowed"):
            SlotList.parse(text)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", [str(2**64), str(-(2**64)), "[" + "9" * 4000 + "," + "9" * 4000 + "]"])
def test_number_above_64_bits_is_refused_with_the_bound(text):
    with pytest.raises(Invalid, match=str(2**64 - 1)):
        SlotList.parse(text)


def test_slots_outside_are_all_told_in_order():
    assert SlotList.parse("600,1,[510,513],-1,600").outside(512) == [600, 512, 513, -1, 600]
    assert SlotList.parse("[0,511]").outside(512) == []

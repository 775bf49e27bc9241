"""Pagination markers: good for one list, one account and 24 hours, and nobody else can make one."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsmkms.core.errors import InvalidMarkerException
from hsmkms.core.markers import LIFETIME_US, MacedMarkers
from hsmkms.core.members import constraint_of
from hsmkms.core.messages import ListKeysRequest
from hsmkms.core.model import Scope
from support.simulated_catalog import SimulatedClock
from support.simulator import OTHER_SCOPE, SCOPE

KEY = bytes(range(32))
NOT_OURS = "The marker is not one that this service issued"


def markers_of(key=KEY, us=0):
    return MacedMarkers(key, SimulatedClock(us))


@given(st.text(max_size=256), st.text(max_size=60))
def test_a_marker_says_where_the_list_goes_on(operation, position):
    marker = markers_of().issue(SCOPE, operation, position)
    assert markers_of().read(SCOPE, operation, marker) == position


def test_the_longest_position_makes_a_marker_that_may_be_sent_back():
    marker = markers_of().issue(SCOPE, "ListAliases", "a" * 256)
    limit = constraint_of(ListKeysRequest.__dataclass_fields__["marker"]).maximum
    assert len(marker) <= limit
    assert marker.isascii()


@pytest.mark.parametrize(
    ("scope", "operation", "key"),
    [
        (OTHER_SCOPE, "ListKeys", KEY),
        (Scope(SCOPE.account, "us-east-1"), "ListKeys", KEY),
        (SCOPE, "ListAliases", KEY),
        (SCOPE, "ListKeys ", KEY),
        (SCOPE, "ListKeys", bytes(32)),
        (Scope(SCOPE.account + SCOPE.region[:2], SCOPE.region[2:]), "ListKeys", KEY),
    ],
    ids=["account", "Region", "list", "list, nearly", "key", "borders moved"],
)
def test_a_marker_of_anything_else_is_refused(scope, operation, key):
    marker = markers_of().issue(SCOPE, "ListKeys", "position")
    with pytest.raises(InvalidMarkerException, match=NOT_OURS):
        markers_of(key).read(scope, operation, marker)


@given(st.data())
def test_no_byte_of_a_marker_can_be_changed(data):
    raw = bytearray(base64.urlsafe_b64decode(markers_of().issue(SCOPE, "ListKeys", "position")))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidMarkerException, match=NOT_OURS):
        markers_of().read(SCOPE, "ListKeys", base64.urlsafe_b64encode(raw).decode())


@given(st.text(max_size=80))
def test_no_text_is_a_marker(text):
    with pytest.raises(InvalidMarkerException, match=NOT_OURS):
        markers_of().read(SCOPE, "ListKeys", text)


def test_a_marker_lives_24_hours():
    marker = markers_of(us=1).issue(SCOPE, "ListKeys", "position")
    assert LIFETIME_US == 86_400_000_000
    assert markers_of(us=1 + LIFETIME_US).read(SCOPE, "ListKeys", marker) == "position"
    with pytest.raises(InvalidMarkerException, match="has expired: start the list again"):
        markers_of(us=2 + LIFETIME_US).read(SCOPE, "ListKeys", marker)

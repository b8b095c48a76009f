"""The comparison that every row of the matrix rests on sees what it is for."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests import samples
from tests.matrix.comparing import Original, all_distinct, assert_same_objects, explicit, original
from tests.whole.associating import Sent

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")  # real files hold values that PS3.5 does not allow


@pytest.fixture(scope="module")
def image() -> Original:
    return original(samples.sample("CT_small.dcm"))


def altered(sent: Sent, at: int) -> Sent:
    data = bytearray(sent.data_set)
    data[at] ^= 1
    return replace(sent, data_set=bytes(data))


def test_what_is_the_same_passes(image: Original) -> None:
    assert_same_objects([image.sent], [image])


def test_a_pixel_that_changed_is_seen(image: Original) -> None:
    pixels = image.sent.data_set.index(explicit(image.path).PixelData)
    with pytest.raises(AssertionError, match="PixelData"):
        assert_same_objects([altered(image.sent, pixels + 1000)], [image])


def test_a_value_that_changed_is_seen(image: Original) -> None:
    with pytest.raises(AssertionError, match="PatientID"):
        assert_same_objects([altered(image.sent, image.sent.data_set.index(image.patient.encode()))], [image])


def test_an_object_that_is_missing_twice_there_or_too_many_is_seen(image: Original) -> None:
    with pytest.raises(AssertionError, match="not received"):
        assert_same_objects([], [image])
    with pytest.raises(AssertionError):
        assert_same_objects([image.sent, image.sent], [image])
    with pytest.raises(AssertionError):
        assert_same_objects([image.sent, replace(image.sent, sop_instance="1.2.3")], [image])


def test_every_object_of_pydicom_is_there_under_a_uid_of_its_own(tmp_path: Path) -> None:
    found = all_distinct(samples.objects(), tmp_path)
    assert len({each.uid for each in found}) == len(found) == len(samples.objects())
    for each, path in zip(found, samples.objects(), strict=True):
        before, after = path.read_bytes(), each.path.read_bytes()
        assert len(before) == len(after)
        assert before.replace(original(path).uid.encode(), each.uid.encode()) == after

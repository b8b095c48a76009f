"""dciodvfy (dicom3tools) finds no more wrong with an object that comes out than with the one that went in."""

import re
import subprocess
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from tests import peers
from tests.archives import ArchiveUnderTest
from tests.matrix.bench import TRUSTED
from tests.matrix.comparing import UNCONVERTED, Original, as_file
from tests.matrix.conftest import Founded
from tests.whole.associating import DEFLATED, Sent, get_studies

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")  # real files hold values that PS3.5 does not allow


def faults(file: Path) -> Counter[str]:
    """What it finds, each with how often; that it breaks down itself is one of them."""
    done = subprocess.run(
        [peers.require("dciodvfy"), file], capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=False
    )
    found = Counter(line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Warning")))
    if done.returncode < 0:
        found[BROKEN] += 1
    return found


BROKEN = "dciodvfy broke down"
"""As it does at all uncompressed pixels of 32 bits, those of rtdose.dcm as it comes from pydicom too."""

OF_ITS_OWN_DICTIONARY = re.compile(r"Value dubious for this VR - \(0x[0-9a-f]{3}[13579bdf],")
"""A private element that was UN: without a VR in the file, dciodvfy looks one up in a dictionary of its own, and judges the value by it."""


def pixel_bits(file: Path) -> int:
    return int(dcmread(file, stop_before_pixels=True).get("BitsAllocated") or 0)


def inflated(sent: Sent) -> Sent:
    """dciodvfy reads no deflated data set, and would find nothing wrong with it."""
    if sent.transfer_syntax != DEFLATED:
        return sent
    return replace(sent, transfer_syntax=EXPLICIT, data_set=zlib.decompressobj(-zlib.MAX_WBITS).decompress(sent.data_set))


AS_STORED, EXPLICIT, IMPLICIT = "as stored", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


@pytest.mark.parametrize("extent", ["sample", pytest.param("all", marks=pytest.mark.long)])
@pytest.mark.parametrize("form", [AS_STORED, EXPLICIT, IMPLICIT])
def test_what_comes_out_by_c_get_is_no_worse_than_what_went_in(
    form: str,
    extent: str,
    founded: Founded,
    images: Callable[[str], list[Original]],
    stocked: Callable[[str], ArchiveUnderTest],
    tmp_path: Path,
) -> None:
    originals = {each.uid: each for each in images(extent)}
    identity = founded.known[TRUSTED].tls
    assert identity is not None
    pairs = {(each.sent.sop_class, each.sent.transfer_syntax if form == AS_STORED else form) for each in originals.values()}
    unconverted = {uid for uid, each in originals.items() if form != AS_STORED and each.path.name in UNCONVERTED}
    studies = {each.study for each in originals.values()}
    received = get_studies(stocked(extent).dimse, identity, studies, pairs, failing=len(unconverted))
    assert {each.sop_instance for each in received} == originals.keys() - unconverted
    worse = {}
    for each in received:
        before, after = tmp_path / "before.dcm", tmp_path / "after.dcm"
        before.write_bytes(as_file(inflated(originals[each.sop_instance].sent)))
        after.write_bytes(as_file(inflated(each)))
        found = faults(after) - faults(before)
        if form != AS_STORED and pixel_bits(before) == 32:
            del found[BROKEN]
        if form == IMPLICIT:
            found = Counter({fault: number for fault, number in found.items() if not OF_ITS_OWN_DICTIONARY.search(fault)})
        if found:
            worse[originals[each.sop_instance].path.name] = list(found)
    assert not worse, worse


def test_a_fault_that_came_on_the_way_is_seen(images: Callable[[str], list[Original]], tmp_path: Path) -> None:
    (whole,) = (each.path for each in images("sample") if each.path.name == "CT_small.dcm")
    damaged = dcmread(whole)
    del damaged.Modality
    damaged.save_as(tmp_path / "after.dcm")
    assert [fault for fault in faults(tmp_path / "after.dcm") - faults(whole) if "Modality" in fault]

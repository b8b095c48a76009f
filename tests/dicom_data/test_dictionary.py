"""The tables of PS3.6 and of character sets: the same as pydicom's, without importing it."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import charset, datadict
from pydicom._uid_dict import UID_dictionary

from leadglass.dicom import dictionary, text, vr


@given(st.one_of(st.integers(0, 0xFFFFFFFF), st.sampled_from(sorted(dictionary.ELEMENTS)), st.integers(0x60000000, 0x60FFFFFF)))
def test_a_tag_is_called_what_pydicom_calls_it(tag: int) -> None:
    if tag & 0xFFFF == 0:
        return  # a group length has no keyword in PS3.6; pydicom makes one
    assert (dictionary.keyword_of(tag) or "") == datadict.keyword_for_tag(tag)
    if datadict.dictionary_has_tag(tag):
        assert vr.dictionary_vr(tag) == datadict.dictionary_VR(tag)


def test_every_keyword_and_uid_is_found() -> None:
    for tag, entry in dictionary.ELEMENTS.items():
        assert dictionary.tag_of(entry[4]) == datadict.tag_for_keyword(entry[4]) or not entry[4], f"{tag:08X}"
    assert dictionary.tag_of("") is None
    # pynetdicom adds a few of its own to pydicom's table when it is imported, by whichever test of this process
    assert dictionary.UIDS.items() <= UID_dictionary.items()
    assert len(dictionary.UIDS) > 470


def test_character_sets_are_read_with_the_same_codecs() -> None:
    assert dict(text.CODECS) == charset.python_encoding
    assert dict(text.CODEC_AFTER) == charset.CODES_TO_ENCODINGS


@pytest.mark.parametrize("module", ["leadglass.cli", "leadglass.assemble.serving", "leadglass.survey.worker"])
def test_no_process_of_ours_imports_pydicom_or_numpy(module: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", f"import {module}, sys; print(*sorted({{'pydicom', 'numpy'}} & set(sys.modules)))"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout.split() == []

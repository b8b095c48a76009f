"""Value representations: how long a length field is, how wide a number, what the dictionary says of a tag (PS3.5 6.2, 7.1; PS3.6)."""

from functools import lru_cache
from typing import Final

from leadglass.dicom.dictionary import ELEMENTS, repeating

SHORT_FORM: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
"""VRs whose explicit form has a 16-bit length (PS3.5 Table 7.1-2)."""

LONG_FORM: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""VRs whose explicit form has two reserved bytes and a 32-bit length (PS3.5 Table 7.1-1)."""

SHORT_FORM_NAMES: Final = frozenset(vr.decode() for vr in SHORT_FORM)
LONG_FORM_NAMES: Final = frozenset(vr.decode() for vr in LONG_FORM)

WIDTH: Final = {
    "AT": 2, "OW": 2, "SS": 2, "US": 2,
    "FL": 4, "OF": 4, "OL": 4, "SL": 4, "UL": 4,
    "FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8,
}  # fmt: skip
"""Bytes in a unit that the byte order concerns; every other VR reads alike in both (PS3.5 7.3)."""

TEXT: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"})
"""VRs of characters, padded to even length (PS3.5 6.2)."""

CHARSET_DEPENDENT: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Text in the data set's Specific Character Set; the rest is ASCII (PS3.5 6.1.2.3)."""

SEQUENCE_TAGS: Final = frozenset(tag for tag, entry in ELEMENTS.items() if entry[0] == "SQ")

PIXEL_DATA: Final = 0x7FE00010
FLOAT_PIXEL_DATA: Final = 0x7FE00008
DOUBLE_PIXEL_DATA: Final = 0x7FE00009
TRAILING_PADDING: Final = 0xFFFCFFFC
SPECIFIC_CHARACTER_SET: Final = 0x00080005
PIXEL_REPRESENTATION: Final = 0x00280103


def dictionary_vr(tag: int) -> str:
    """The dictionary's VR, possibly ambiguous ("US or SS"); UN for what it does not know, private elements above all.

    >>> dictionary_vr(0x00100010), dictionary_vr(0x00280106), dictionary_vr(0x60023000), dictionary_vr(0x00091001)
    ('PN', 'US or SS', 'OB or OW', 'UN')
    """
    entry = ELEMENTS.get(tag)
    return entry[0] if entry is not None else _rare_vr(tag)


@lru_cache(maxsize=4096)
def _rare_vr(tag: int) -> str:
    element = tag & 0xFFFF
    if element == 0:
        return "UL"  # group length, retired
    if tag >> 16 & 1:
        # A private creator reserves a block and is the one private element whose VR is known (PS3.5 7.8.1).
        return "LO" if 0x10 <= element <= 0xFF else "UN"
    entry = repeating(tag)
    return "UN" if entry is None else entry[0]

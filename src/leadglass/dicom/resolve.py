"""Deciding ambiguous VRs: what the dictionary leaves to other attributes of the same or an enclosing item (PS3.5 Annex A, PS3.6)."""

from typing import Final

from leadglass.dicom.tokens import Kind, Token
from leadglass.dicom.vr import PIXEL_DATA, PIXEL_REPRESENTATION, dictionary_vr

_BITS_ALLOCATED: Final = 0x00280100
_LUT_DESCRIPTOR: Final = 0x00283002
_WAVEFORM_BITS: Final = 0x54001004
_WATCHED: Final = frozenset({PIXEL_REPRESENTATION, _BITS_ALLOCATED, _LUT_DESCRIPTOR, _WAVEFORM_BITS})
_WAVEFORM_GROUP: Final = 0x5400
_LONGEST_SHORT_FORM: Final = 0xFFFF


class Resolver:
    """Shown every token of a walk, in order, it knows the VR of each.

    With `name_unknown`, what was written as UN although the dictionary knows it gets the dictionary's VR back (PS3.5 6.2.2).
    """

    def __init__(self, *, name_unknown: bool = False) -> None:
        self._name_unknown = name_unknown
        self._items: list[dict[int, int]] = [{}]

    def vr(self, token: Token) -> str:
        """The VR of an element: the explicit one, else what the dictionary and the elements before it say; UN for the rest."""
        if token.kind is Kind.ITEM:
            self._items.append({})
        elif token.kind is Kind.ITEM_END:
            self._items.pop()
        elif token.tag in _WATCHED and token.value:
            self._items[-1][token.tag] = int.from_bytes(token.value[:2], "little" if token.little else "big")
        vr = token.vr
        if vr == "UN" and self._name_unknown and dictionary_vr(token.tag) != "SQ":
            vr = dictionary_vr(token.tag)
        return self._decide(token, vr) if " or " in vr else vr

    def _decide(self, token: Token, vr: str) -> str:
        if vr == "US or SS":
            return "SS" if self._nearest(PIXEL_REPRESENTATION) == 1 else "US"
        if vr == "US or OW":  # a LUT of one entry is a number, else it is data
            return "US" if self._nearest(_LUT_DESCRIPTOR) == 1 and token.length <= _LONGEST_SHORT_FORM else "OW"
        if token.tag == PIXEL_DATA:
            return "OB" if 0 < self._nearest(_BITS_ALLOCATED) <= 8 else "OW"
        if token.tag >> 16 == _WAVEFORM_GROUP:
            return "OB" if self._nearest(_WAVEFORM_BITS) == 8 else "OW"
        return "OW"  # overlays, curves, old lookup tables; in little endian the bytes are those of OB and US

    def _nearest(self, tag: int) -> int:
        return next((item[tag] for item in reversed(self._items) if tag in item), 0)

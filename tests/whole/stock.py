"""The few objects that most of these tests need."""

from pathlib import Path

from tests import samples

FEW = ("CT_small.dcm", "MR_small.dcm", "693_J2KI.dcm", "image_dfl.dcm", "ExplVR_BigEnd.dcm", "rtplan.dcm")


def few() -> list[Path]:
    """Objects of six studies and six transfer syntaxes."""
    return [samples.sample(name) for name in FEW]

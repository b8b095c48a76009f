"""The real images of the tests: those inside pydicom's wheel, nothing downloaded; and why some of them are no objects.

An object here is a Part 10 file that names its transfer syntax, is encoded in it to its last byte, and identifies its study, series,
instance and SOP class. The table is written by hand, from DCMTK's and pydicom's readings, so that our own parser cannot agree with itself.
"""

from collections.abc import Mapping
from pathlib import Path

from pydicom.data.data_manager import DATA_ROOT

ROOT = Path(DATA_ROOT)
FOLDERS = ("charset_files", "palettes", "test_files")

_NO_PREFIX = "no preamble and DICM prefix"
_NO_STUDY = "no Study Instance UID and Series Instance UID"
_NO_UIDS = "no SOP Class, SOP Instance, Study Instance and Series Instance UID"
_DIRECTORY = "a DICOMDIR: a directory of media, not an object"
_DOCUMENT = "not DICOM: accompanies the images"

NO_OBJECT: Mapping[str, str] = {
    "charset_files/FileInfo.txt": _DOCUMENT,
    "charset_files/chrSQEncoding.dcm": _NO_UIDS,
    "charset_files/chrSQEncoding1.dcm": _NO_UIDS,
    "palettes/README.md": _DOCUMENT,
    "palettes/fall.dcm": _NO_STUDY,
    "palettes/hotiron.dcm": _NO_STUDY,
    "palettes/hotmetalblue.dcm": _NO_STUDY,
    "palettes/pet.dcm": _NO_STUDY,
    "palettes/pet20step.dcm": _NO_STUDY,
    "palettes/spring.dcm": _NO_STUDY,
    "palettes/summer.dcm": _NO_STUDY,
    "palettes/winter.dcm": _NO_STUDY,
    "test_files/ExplVR_BigEndNoMeta.dcm": _NO_PREFIX,
    "test_files/ExplVR_LitEndNoMeta.dcm": _NO_PREFIX,
    "test_files/JPEGLSNearLossless_08.dcm": _NO_STUDY,
    "test_files/JPEGLSNearLossless_16.dcm": _NO_STUDY,
    "test_files/MR_truncated.dcm": "ends in the middle of Pixel Data",
    "test_files/README.txt": _DOCUMENT,
    "test_files/SC_rgb_jls_lossy_line.dcm": _NO_STUDY,
    "test_files/SC_rgb_jls_lossy_sample.dcm": _NO_STUDY,
    "test_files/SC_rgb_jpeg.dcm": "its data set is implicit VR, its transfer syntax (JPEG Baseline) is explicit",
    "test_files/UN_sequence.dcm": _NO_UIDS,
    "test_files/crayons.icc": _DOCUMENT,
    "test_files/dicomdirtests/DICOMDIR": _DIRECTORY,
    "test_files/dicomdirtests/DICOMDIR-bigEnd": _DIRECTORY,
    "test_files/dicomdirtests/DICOMDIR-empty.dcm": _DIRECTORY,
    "test_files/dicomdirtests/DICOMDIR-implicit": _DIRECTORY,
    "test_files/dicomdirtests/DICOMDIR-nooffset": _DIRECTORY,
    "test_files/dicomdirtests/DICOMDIR-nopatient": _DIRECTORY,
    "test_files/dicomdirtests/DICOMDIR-reordered": _DIRECTORY,
    "test_files/dicomdirtests/README.txt": _DOCUMENT,
    "test_files/dicomdirtests/TINY_ALPHA/DICOMDIR": _DIRECTORY,
    "test_files/dicomdirtests/TINY_ALPHA/README": _DOCUMENT,
    "test_files/empty_charset_LEI.dcm": _NO_UIDS,
    "test_files/meta_missing_tsyntax.dcm": "no Transfer Syntax UID",
    "test_files/nested_priv_SQ.dcm": _NO_UIDS,
    "test_files/no_meta.dcm": _NO_PREFIX,
    "test_files/no_meta_group_length.dcm": _NO_UIDS,
    "test_files/priv_SQ.dcm": _NO_UIDS,
    "test_files/rtplan.dump": _DOCUMENT,
    "test_files/rtplan_truncated.dcm": "ends in the middle of Isocenter Position",
    "test_files/rtstruct.dcm": _NO_PREFIX,
    "test_files/rtstruct.dump": _DOCUMENT,
    "test_files/test1.json": _DOCUMENT,
    "test_files/test_PN.json": _DOCUMENT,
    "test_files/zipMR.gz": "compressed as a file: gzip, not DICOM",
}
"""Every bundled file that is not an object, by its path under `ROOT`, with why."""


def all_files() -> list[Path]:
    """Every file that pydicom's wheel brings for tests, in order."""
    return sorted(
        path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}
    )


def name_of(path: Path) -> str:
    """The path under `ROOT`, as `NO_OBJECT` has it; good as a test's id."""
    return path.relative_to(ROOT).as_posix()


def objects() -> list[Path]:
    """The files that are objects: every route in must take them all."""
    return [path for path in all_files() if name_of(path) not in NO_OBJECT]


def no_objects() -> list[Path]:
    """The files that are none: every route in must refuse them all, and say why."""
    return [path for path in all_files() if name_of(path) in NO_OBJECT]


def sample(name: str) -> Path:
    """The object whose file is called `name`, such as `CT_small.dcm`."""
    (path,) = (path for path in objects() if path.name == name)
    return path

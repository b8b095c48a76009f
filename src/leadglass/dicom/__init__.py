"""Facts and bytes of DICOM: no sockets, no disk."""

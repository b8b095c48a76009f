"""The DICOMweb door (PS3.18)."""

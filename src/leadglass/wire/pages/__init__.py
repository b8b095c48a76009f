"""The pages for people: rendered here, without a script, at the same address as DICOMweb and with nothing in common with it."""

"""The web: DICOMweb (PS3.18), the products' own interfaces, viewers without sign-in."""

"""The DIMSE ladder: from a port that answers to an image that is handed out (PS3.7, PS3.8)."""

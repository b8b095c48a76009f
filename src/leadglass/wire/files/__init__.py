"""Import: files, folders and zips."""

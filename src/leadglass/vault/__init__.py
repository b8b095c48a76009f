"""All that is stored of patients, only ever sealed: keys, blobs, index, journal."""

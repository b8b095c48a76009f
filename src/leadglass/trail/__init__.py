"""The trail: a record of every access that nobody can rewrite unnoticed.

`entries` says what is recorded, `merkle` and `note` are the C2SP arithmetic, `layout` names every file, `disk` and `files`
write them, `recovery` opens them, `log` commits for many threads at once, `verify` needs nothing but the folder.
"""

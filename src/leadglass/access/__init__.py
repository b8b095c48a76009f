"""Who is asking, may they, and the gate that lets nobody through without a grant.

`identity` holds the values, `accounts`, `peers` and `tokens` who is known, `holds` who is out nevertheless, `registry` recognises them,
`policy` decides (pure; an empty one denies), `gate` puts the three together with the trail and hands out `grant`s; `authority` issues
certificates.
"""

"""The asyncio drivers of an association, acceptor and requestor, and TLS contexts; for wire and survey only."""

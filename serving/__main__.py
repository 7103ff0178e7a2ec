"""`python -m serving --store=DIR`: see `serving/flags.py`."""

from serving import server

if __name__ == "__main__":
    raise SystemExit(server.main())

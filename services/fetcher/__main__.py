"""`python -m services.fetcher`: configured by the environment alone."""

from shared.starting import importing

with importing(__name__):
    from services.fetcher.service import serve
    from services.fetcher.settings import FetcherSettings
    from shared.runtime import run_service

if __name__ == "__main__":
    run_service("fetcher", FetcherSettings, serve)

"""`python -m services.api`: one API, configured by the environment alone."""

from shared.starting import importing

with importing(__name__):
    from services.api.service import POSTGRESQL, READY_CHECK, serve
    from services.api.settings import ApiSettings
    from shared.runtime import run_service


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    run_service("api", ApiSettings, serve, checks=(READY_CHECK, POSTGRESQL))


if __name__ == "__main__":
    main()

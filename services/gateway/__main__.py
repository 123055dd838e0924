"""`python -m services.gateway`: one gateway, configured by the environment."""

from services.gateway.service import READY_CHECK, serve
from services.gateway.settings import GatewaySettings
from shared.runtime import run_service


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    run_service("gateway", GatewaySettings, serve, checks=(READY_CHECK,))


if __name__ == "__main__":
    main()

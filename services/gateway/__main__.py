"""`python -m services.gateway`: one gateway, or GATEWAY_WORKERS of them on one port, configured by the environment."""

from shared.starting import importing

with importing(__name__):
    import asyncio
    import sys
    from collections.abc import Sequence

    from services.gateway import service, workers
    from services.gateway.settings import GatewaySettings
    from shared.runtime import run_service


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    match sys.argv[1:]:
        case [workers.ROLE, number]:
            workers.become(number)
            # Ctrl-C and a supervisor's signal reach the whole group, and the parent passes on its own: together they are one wish.
            run_service("gateway", GatewaySettings, service.serve, checks=(service.READY_CHECK,), is_hurried=False)
        case _:
            run_service("gateway", GatewaySettings, serve, checks=checks)


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Be the gateway, or the parent of several."""
    await (workers.supervise if settings.gateway_workers > 1 else service.serve)(settings, stop)


def checks(settings: GatewaySettings) -> Sequence[str]:
    """What must hold before that is ready."""
    return (workers.READY_CHECK if settings.gateway_workers > 1 else service.READY_CHECK,)


if __name__ == "__main__":
    main()

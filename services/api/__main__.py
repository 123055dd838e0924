"""Refuses to start, so that a deployment which asks for it notices."""

import sys

print("services.api: not available in this version", file=sys.stderr)
sys.exit(2)

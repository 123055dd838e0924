"""Providers that behave as the real ones do, over real sockets: what they are known to do wrong included."""

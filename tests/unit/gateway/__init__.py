"""The gateway's decisions, without I/O."""

"""What the services agree on, and the runtime they stand on; imports no service."""

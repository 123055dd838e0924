"""Everything that talks to Redis: the client, the function library and its calls, and the leases."""

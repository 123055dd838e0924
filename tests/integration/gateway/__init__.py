"""The gateway on a real Redis, with clients on real sockets."""

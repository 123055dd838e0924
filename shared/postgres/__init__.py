"""PostgreSQL as more than one service uses it; only these need its driver."""

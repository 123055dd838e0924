"""The read-only REST service and the dashboard: not in this version."""

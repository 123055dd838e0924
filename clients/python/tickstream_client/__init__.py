"""Subscribe to a tickstream gateway, or consume its streams."""

"""Kill anything, stop anything, scale anything: what is promised holds all the same."""

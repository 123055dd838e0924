"""Where ticks come from, one module per counterpart; pure: what they need to know of time and files is handed in."""

"""From pixels to scores: devices, sessions, scheduling."""

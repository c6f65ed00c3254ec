"""Images too large for one run."""

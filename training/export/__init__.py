"""Export of a trained network to the files that the service serves."""

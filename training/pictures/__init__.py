"""Pictures of data sets and of the results of runs."""

"""The service's HTTP face: requests in, answers and problems out."""

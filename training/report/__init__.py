"""Compares runs on one page, from the records that they leave."""

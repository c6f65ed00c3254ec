"""Runs compared on one page, from the records that they leave."""

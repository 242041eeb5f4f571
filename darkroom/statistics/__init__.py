"""Confidence intervals that several stages and the review share."""

"""What looks like health and is none: reasons not to believe the numbers, whatever the evidence says."""

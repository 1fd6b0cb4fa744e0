"""Statistics, usable on their own: arrays in, frozen answers out; numpy and scipy.special only."""

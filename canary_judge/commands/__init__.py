"""The commands of `canary-judge`, one module for each kind; each adds its options and runs."""

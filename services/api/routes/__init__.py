"""The paths of the contract, a module per subject."""

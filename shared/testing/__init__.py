"""What tests of several services share: the oracle and the factories."""

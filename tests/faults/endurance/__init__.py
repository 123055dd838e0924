"""Random faults for minutes or hours, from a seed: `make faults MINUTES=30 SEED=7`.

A replay of rows that are all told apart runs through the whole pipeline while services and servers are killed, stopped,
cut off, scaled and failed over. What is there at the end of each episode is compared with what must be.
"""

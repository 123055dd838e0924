"""`make bench`: each figure beside what it is compared with, both measured in one run on real servers.

`report` holds the rows, `ground` the servers and data, and each other module one thing that is measured.
"""

"""`make bench`: each figure beside what it is compared with, both measured in one run on real servers; `make bench-check`: the guard.

`ground` holds the servers and data of a run, `running` our services and `peer` the programs of others (`peers/`) as processes; `report`,
`results`, `plots` and `page` make of figures what is kept and shown; `check`, `counting`, `workloads` and `redis_costs` are the guard. Each
other module measures one thing.
"""

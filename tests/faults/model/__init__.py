"""A seeded step model: the services' own loops against a real Redis and a real PostgreSQL, interleaved at every request.

Each actor is the real code of a service; its clients stop at a gate before every request, and a scheduler with a seed
decides who passes next and what becomes of the request: answered, lost on the way there or back, executed twice, executed
later. Between two requests anything else may happen: a crash, a pause, a roll-back of Redis or PostgreSQL. One oracle
looks on after every write and judges the end.
"""

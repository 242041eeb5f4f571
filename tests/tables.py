"""Small tables, for tests."""

from darkroom.columns.schema import Column, Schema

AGE = Column("age", "number", low=18.0, high=80.0, absent=("unknown",))
JOB = Column("job", "category", categories=("clerk", "nurse"))
SINCE = Column("since", "date", low=0.0, high=100.0)
SCHEMA = Schema("default", "1", (AGE, JOB, SINCE))

"""Everything in PostgreSQL: records, queue, leases, notifications. The only package that knows SQL or its driver.

A *store* reads and changes one group of tables and speaks in domain types; ``open_datastore`` opens all of them.
"""

from praefect.datastore.datastore import Datastore, open_datastore
from praefect.datastore.errors import DatastoreUnavailableError, QueryError

__all__ = ["Datastore", "DatastoreUnavailableError", "QueryError", "open_datastore"]

"""The audit log: every decision, who made it, why and its cost, on disk before it takes effect.

The log is a file of JSON lines chained by SHA-256, so that a changed or missing line shows. Whoever
can write to the file can also write a whole new chain: keep the head that `verify` prints
elsewhere, and `verify(path, head=...)` finds that too.
"""

from splitreason_integrations.audit.checking import Report, repair, verify
from splitreason_integrations.audit.log import AuditLog
from splitreason_integrations.audit.record import AuditRecord

__all__ = ["AuditLog", "AuditRecord", "Report", "repair", "verify"]

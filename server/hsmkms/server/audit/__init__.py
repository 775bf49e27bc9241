"""The audit log on disk: a chain of records in files of its own, written by a thread of its own, anchored on the token."""

from hsmkms.server.audit.log import AuditLog, Auditor, NoAudit, open_audit_log

__all__ = ["AuditLog", "Auditor", "NoAudit", "open_audit_log"]

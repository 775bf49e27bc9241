"""AWS clients: who they are, by Signature Version 4 and access keys, and what they are told."""

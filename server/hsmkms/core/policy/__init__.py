"""Who may do what: AWS policy documents, their conditions, and the decision as AWS KMS makes it.

Pure and without state that a caller can see: a parsed `Policy` may be shared by all threads.
"""

"""Moving all the ciphertexts of a table or a file to another KMS key: what `hsm-kms re-encrypt-all` does.

    plan        what is to be moved where, and whether a journal was begun with the same plan
    templates   encryption contexts from columns
    rows        a row, its key, what becomes of it, and what a store of rows can do
    database    a table over SQLAlchemy
    formats     records of JSON Lines and CSV files
    files       a file that is copied, record by record
    journal     how far a run came: what makes it resumable
    service     the key management service: streams, attempts, rate
    progress    a bar, or a line now and then
    runner      the run: reads, sends, writes
    survey      the dry run: counts by key and material

Nothing here sees a plaintext, and neither a log line nor a journal nor a list of failures holds a ciphertext.
"""
